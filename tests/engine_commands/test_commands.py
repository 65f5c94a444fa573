"""`edge-app build`, `engines` and `verify` as far as they go without a GPU."""

import hashlib
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from edge_app.engine import housekeeping
from edge_app.engine.events import BuildEvent, EventKind
from edge_app.engine.identity import DeviceFacts, EngineIdentity
from edge_app.engine.manifest import EngineState, Manifest
from edge_app.engine.obtain import ObtainedEngine
from edge_app.engine.options import Precision, Profile
from edge_app.engine.store import EngineStore, StoredEngine
from edge_app.engine_commands import listing
from edge_app.engine_commands.build import describe_obtained
from edge_app.engine_commands.display import BuildDisplay
from edge_app.engine_commands.settings import read_settings
from edge_app.engine_commands.words import describe_verification
from edge_app.gpu.driver import count_gpus
from tests.processes import edge_app_says

no_gpu = pytest.mark.skipif(count_gpus() > 0, reason="this machine has a GPU")
ORIN = DeviceFacts(tensorrt="8.6.2", cuda="12.2", gpu="Orin", compute_capability="8.7", l4t="36.3")
PASSED = {
    "verified": True,
    "passed": True,
    "match_rate": 0.998,
    "counted": 512,
    "confidence_drift": [0.012, 0.001],
    "faults": [],
}


def put(
    store: EngineStore, device: DeviceFacts = ORIN, state: EngineState = EngineState.GOOD
) -> StoredEngine:
    content = f"{device} {state}".encode()
    plan = store.directory / "built"
    plan.write_bytes(content)
    identity = EngineIdentity("ab" * 32, device, Precision.FP16, Profile(416, 416, 1, 1, 4))
    verification = PASSED if state is EngineState.GOOD else {**PASSED, "passed": False, "faults": ["7 NaN"]}
    manifest = Manifest(
        name="demo",
        identity=identity,
        plan_sha256=hashlib.sha256(content).hexdigest(),
        plan_bytes=7 << 20,
        build_s=29.2,
        created_at="2026-11-20T18:27:00+00:00",
        state=state,
        verification=verification,
    )
    return store.put(plan, manifest)


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines")


@no_gpu
@pytest.mark.parametrize("words", [("build",), ("verify",), ("build", "--precision", "int8")])
def test_without_a_gpu_it_is_said_where_engines_are_built(words: tuple[str, ...], tmp_path: Path) -> None:
    done = edge_app_says(*words, "--directory", tmp_path / "engines")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("edge-app: this machine has no NVIDIA GPU, or its driver is not installed.")
    assert "An engine is built on the machine that will run it" in done.stderr
    assert not (tmp_path / "engines").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("build", "--config", "nope.yaml"), "nope.yaml"),
        (("build", "--model", "nope.onnx"), "nope.onnx: there is no such model file"),
        (("build", "--model", "model.engine"), "model.engine is an engine already"),
        (("verify", "--seeds", "5"), "--seeds must be the first and the last seed, found '5'"),
        (("verify", "--images", "pictures"), "--images was given without --coco"),
        (("verify", "--seeds", "0-1", "--coco", "a.json"), "--seeds and --coco were both given"),
    ],
)
def test_what_is_wrong_is_said_before_a_gpu_is_looked_for(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    (tmp_path / "model.engine").write_bytes(b"plan")
    done = edge_app_says(*words, cwd=tmp_path)
    assert done.returncode == 78
    assert said in done.stderr


def test_precisions_are_three() -> None:
    done = edge_app_says("build", "--precision", "bf16")
    assert done.returncode == 2
    assert "'bf16' is not one of 'fp32', 'fp16', 'int8'" in done.stderr


def test_engines_are_listed_where_there_is_no_gpu(store: EngineStore) -> None:
    put(store)
    done = edge_app_says("engines", "--directory", store.directory)
    assert done.returncode == 0
    assert re.search(r"demo +fp16 +1-4 +3 +good +7\.0 +29\.2 +2026-11-20T18:27 +8\.6\.2", done.stdout)


def test_a_directory_without_engines_is_not_made(tmp_path: Path) -> None:
    done = edge_app_says("engines", "--directory", tmp_path / "none")
    assert done.returncode == 0
    assert "there are no engines: " in done.stdout
    assert not (tmp_path / "none").exists()


@no_gpu
@pytest.mark.parametrize("option", ["--explain", "--prune"])
def test_to_say_what_serves_here_takes_a_gpu(store: EngineStore, option: str) -> None:
    engine = put(store)
    done = edge_app_says("engines", "--directory", store.directory, option)
    assert done.returncode == 1
    assert "this machine has no NVIDIA GPU" in done.stderr
    assert engine.plan_path.exists()


def test_engines_are_explained_and_pruned(
    store: EngineStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, old = put(store), put(store, replace(ORIN, tensorrt="8.5.2"))
    refused = put(store, state=EngineState.REFUSED)
    monkeypatch.setattr(listing, "this_device", lambda _: ORIN)
    listing.run_listing(None, directory=store.directory, explain=True, remove_others=False)
    said = capsys.readouterr().out
    assert f"{good.plan_path.name}\n  serves on this machine\n" in said
    assert f"{old.plan_path.name}\n  built for TensorRT 8.5.2, this is 8.6.2\n" in said
    assert f"{refused.plan_path.name}\n  refused: 7 NaN\n" in said
    listing.run_listing(None, directory=store.directory, explain=False, remove_others=True)
    assert f"removed {old.plan_path.name}: built for TensorRT 8.5.2" in capsys.readouterr().out
    assert [verdict.engine.plan_path for verdict in housekeeping.judge_engines(store, ORIN)] == [
        good.plan_path
    ]


def test_the_report_of_a_build_says_what_the_engine_is(store: EngineStore) -> None:
    engine = put(store)
    report = describe_obtained(ObtainedEngine(engine, b"plan", ("built for TensorRT 8.5.2",)), 31.4)
    for words in (
        str(engine.plan_path),
        "built, 31.4 s in all",
        "built for TensorRT 8.5.2",
        "demo (sha256 abababababab)",
        "416x416, batch 1 / 4",
        "TensorRT 8.6.2, CUDA 12.2, L4T 36.3",
        engine.manifest.identity.digest[:12],
        "7.0 MiB",
        "99.80% of 512 boxes match, confidence drifts by 0.012 at most",
    ):
        assert words in report
    assert "found in the store, 0.1 s" in describe_obtained(ObtainedEngine(engine, b"plan"), 0.1)


def test_a_verification_is_one_line() -> None:
    assert describe_verification(None) == "not yet"
    assert describe_verification({"verified": False}) == "no, verification is off"
    failed = {**PASSED, "passed": False, "faults": ["7 values are NaN"]}
    assert describe_verification(failed).startswith("FAILED (7 values are NaN); 99.80%")
    accepted = describe_verification({**failed, "accepted": True})
    assert accepted.startswith("FAILED (7 values are NaN), taken into use all the same; ")
    nothing = describe_verification({**PASSED, "match_rate": None})
    assert nothing == "no box on either side, raw outputs compared"


def test_where_there_is_no_terminal_a_build_is_lines() -> None:
    now_s = 0.0
    out = StringIO()
    with BuildDisplay(Console(file=out, width=40), lambda: now_s) as display:
        display(BuildEvent(EventKind.PHASE, "reading the model", 7.4, 5.0))
        for second in range(25):
            now_s = float(second)
            display(BuildEvent(EventKind.PROGRESS, "building", now_s, 10.0 + second))
        display(BuildEvent(EventKind.NOTE, "19 of 281 layers are [bound] to FP32, which is a long line"))
        display(BuildEvent(EventKind.LOG, "INT64 weights"))
    assert out.getvalue().splitlines() == [
        "     7 s    5 %  reading the model",
        "    10 s   20 %  building",
        "    20 s   30 %  building",
        "19 of 281 layers are [bound] to FP32, which is a long line",
        "TensorRT: INT64 weights",
    ]


def test_on_a_terminal_a_build_is_a_bar() -> None:
    out = StringIO()
    with BuildDisplay(Console(file=out, force_terminal=True, width=80)) as display:
        display(BuildEvent(EventKind.PROGRESS, "building", 12.0, 43.0))
        display._bar.refresh()
    assert "43 %" in out.getvalue()


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text("engine: {precision: fp32, calibration: {source: images, frames: 64}}\n")
    config = read_settings(file)
    assert config.engine.calibration.source == str(tmp_path / "images")
    config = read_settings(
        file, model="b.onnx", precision="int8", calibration="frames", directory=Path("engines")
    )
    assert (config.model.path, config.engine.precision) == ("b.onnx", "int8")
    assert (config.engine.calibration.source, config.engine.calibration.frames) == ("frames", 64)
    assert config.engine.directory == str(Path("engines").absolute())


@pytest.mark.parametrize("command", ["build", "verify"])
@pytest.mark.parametrize(
    ("mistyped", "hint"),
    [("peple", "Did you mean people?"), ("dogs", "There are people, faces."), ("a.onnx", "There are ")],
)
def test_a_name_that_no_model_has_is_told(command: str, mistyped: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text("models: {people: {path: demo}, faces: {path: demo}}\n")
    done = edge_app_says(command, "--config", "edge.yaml", "--model", mistyped, cwd=tmp_path)
    assert done.returncode == 78
    assert f"{mistyped} is neither one of the models of edge.yaml nor a file. Hint: {hint}" in done.stderr
