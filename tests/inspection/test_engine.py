"""What is told of an engine; a plan that is not its manifest's is never given to TensorRT."""

import hashlib
import json
from pathlib import Path

import pytest

from edge_app.engine.durable import temporary_name
from edge_app.engine.errors import UnsafeStoreError
from edge_app.engine.identity import DeviceFacts, EngineIdentity
from edge_app.engine.manifest import Manifest
from edge_app.engine.options import BuildOptions, Precision, Profile
from edge_app.engine.store import EngineStore, StoredEngine
from edge_app.errors import BackendError, ModelError
from edge_app.inspection import engine as inspection
from edge_app.inspection.engine import inspect_engine, read_header
from edge_app.inspection.layers import parse_layers
from edge_app.inspection.text import engine_text

PLAN = b"ftrt, or so it would begin"
VERIFICATION = {
    "passed": False,
    "match_rate": None,
    "frames": 20,
    "outputs": {"output0": {"max_error": 0.25, "cosine": 0.99987}},
    "faults": ["98.00% of the boxes matched, wanted 99.00%"],
}


@pytest.fixture
def stored(tmp_path: Path) -> StoredEngine:
    store = EngineStore(tmp_path / "engines")
    device = DeviceFacts("10.3.0", "12.6", "Orin", "8.7", "36.4.3")
    options = BuildOptions(optimization_level=2, dla_core=1)
    identity = EngineIdentity("a" * 64, device, Precision.INT8, Profile(416, 320, 1, 2, 8), options, "c" * 64)
    manifest = Manifest(
        name="street",
        identity=identity,
        plan_sha256=hashlib.sha256(PLAN).hexdigest(),
        plan_bytes=len(PLAN),
        build_s=61.25,
        created_at="2026-01-02T03:04:05+00:00",
        build={"workspace_mib": 512, "attempts": 2},
    )
    plan = temporary_name(store.directory / "plan")
    plan.write_bytes(PLAN)
    return store.refuse(store.put(plan, manifest), VERIFICATION)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The plans that would have been given to TensorRT."""
    plans: list[bytes] = []

    def ask(path: Path, plan: bytes, built: EngineIdentity) -> tuple[str, ...]:
        plans.append(plan)
        return ("Convolution stem -> Half",)

    monkeypatch.setattr(inspection, "_ask_tensorrt", ask)
    return plans


def test_an_engine_is_told_in_words(stored: StoredEngine, asked: list[bytes]) -> None:
    found = inspect_engine(stored.plan_path)
    assert found.is_the_plan is True
    assert asked == [PLAN]
    text = "\n".join(engine_text(found))
    for words in (
        "street: ",
        "the file is this plan",
        "refused",
        "Orin (compute capability 8.7), TensorRT 10.3.0, CUDA 12.6, L4T 36.4.3",
        "416x320 pixels, batch 1 to 8, best at 2",
        "level 2, on DLA core 1, TF32 on",
        "with the frames cccccccccccc",
        "2026-01-02T03:04:05+00:00, in 61.2 s",
        "workspace_mib: 512",
        "passed no, match_rate not measured, frames 20",
        "output output0: max_error 0.25, cosine 0.99987",
        "failed: 98.00% of the boxes matched",
        "Convolution stem -> Half",
    ):
        assert words in text, words


def test_inspecting_changes_nothing(stored: StoredEngine) -> None:
    stored.plan_path.write_bytes(PLAN + b"!")
    before = {path.name: path.read_bytes() for path in stored.plan_path.parent.iterdir()}
    inspect_engine(stored.plan_path)
    assert {path.name: path.read_bytes() for path in stored.plan_path.parent.iterdir()} == before


@pytest.mark.parametrize("content", [PLAN[:-1], PLAN + b"\0", PLAN[::-1]])
def test_a_changed_plan_is_not_given_to_tensorrt(
    stored: StoredEngine, asked: list[bytes], content: bytes
) -> None:
    stored.plan_path.write_bytes(content)
    found = inspect_engine(stored.plan_path)
    assert found.is_the_plan is False
    assert asked == []
    assert found.layers is None
    text = "\n".join(engine_text(found))
    assert f"NOT this file: it says {hashlib.sha256(PLAN).hexdigest()}" in text
    assert "not shown: the plan is not the one that its manifest describes" in text


def test_a_plan_without_a_manifest_is_not_given_to_tensorrt(tmp_path: Path, asked: list[bytes]) -> None:
    path = tmp_path / "stray.plan"
    path.write_bytes(PLAN)
    found = inspect_engine(path)
    assert found.is_the_plan is None
    assert found.manifest_problem == "there is no manifest stray.json beside it"
    assert asked == []


def test_a_tampered_manifest_is_none(stored: StoredEngine, asked: list[bytes]) -> None:
    values = json.loads(stored.manifest_path.read_text())
    values["plan_sha256"] = hashlib.sha256(b"mine").hexdigest()
    stored.manifest_path.write_text(json.dumps(values))
    stored.plan_path.write_bytes(b"mine")
    found = inspect_engine(stored.plan_path)
    assert found.manifest is None
    assert "one of them was changed" in str(found.manifest_problem)
    assert asked == []


def test_a_manifest_that_is_none_is_explained(stored: StoredEngine, asked: list[bytes]) -> None:
    stored.manifest_path.write_text("{")
    assert "not a manifest of an engine" in str(inspect_engine(stored.plan_path).manifest_problem)
    assert asked == []


@pytest.mark.parametrize("which", ["plan", "folder"])
def test_what_others_may_write_is_not_given_to_tensorrt(
    stored: StoredEngine, asked: list[bytes], which: str
) -> None:
    (stored.plan_path if which == "plan" else stored.plan_path.parent).chmod(0o777)
    found = inspect_engine(stored.plan_path)
    assert "others may write to it" in str(found.unsafe)
    assert found.layers_problem == found.unsafe
    assert asked == []


def test_where_tensorrt_is_missing_that_is_said(
    stored: StoredEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> tuple[str, ...]:
        raise BackendError("TensorRT cannot be imported: No module named 'tensorrt'")

    monkeypatch.setattr(inspection, "_ask_tensorrt", refuse)
    lines = list(engine_text(inspect_engine(stored.plan_path)))
    assert lines[-1] == "  layers     not shown: TensorRT cannot be imported: No module named 'tensorrt'"


def test_this_machine_says_why_it_shows_no_layers(stored: StoredEngine) -> None:
    """Really asked: the plan is nothing that any TensorRT would load."""
    found = inspect_engine(stored.plan_path)
    assert found.layers is None
    assert found.layers_problem


def test_the_metadata_of_ultralytics_is_read(tmp_path: Path) -> None:
    header = json.dumps({"names": {"0": "person"}, "imgsz": [640, 640]}).encode()
    path = tmp_path / "yolo.engine"
    path.write_bytes(len(header).to_bytes(4, "little") + header + PLAN)
    found = inspect_engine(path)
    assert found.header == {"names": {"0": "person"}, "imgsz": [640, 640]}
    assert "TensorRT cannot load the file as it is" in "\n".join(engine_text(found))


@pytest.mark.parametrize(
    "plan",
    [PLAN, b"", b"\x02", b"\x02\0\0\0[]", b"\xff\xff\xff\xff{}", b"\xff\0\0\0{}", b"\x02\0\0\0\xff\xff"],
)
def test_a_plan_has_no_header(plan: bytes) -> None:
    assert read_header(plan) is None


def test_json_is_plain(stored: StoredEngine) -> None:
    values = json.loads(json.dumps(inspect_engine(stored.plan_path).to_json()))
    assert values["kind"] == "engine"
    assert values["manifest"]["identity"]["precision"] == "int8"
    assert values["manifest"]["state"] == "refused"
    assert values["is_the_plan"] is True


def test_an_empty_or_missing_engine_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        inspect_engine(tmp_path / "none.engine")
    (tmp_path / "empty.engine").touch()
    with pytest.raises(ModelError, match="is empty"):
        inspect_engine(tmp_path / "empty.engine")


def test_an_engine_is_not_fetched() -> None:
    with pytest.raises(UnsafeStoreError, match="never fetched from a URL"):
        inspect_engine(Path("https://example.org/x.engine"))


def test_layers_are_read_with_and_without_details() -> None:
    assert parse_layers('{"Layers": ["conv1 + relu", "pool"], "Bindings": []}') == ("conv1 + relu", "pool")
    detailed = {
        "Name": "conv1 + relu",
        "LayerType": "CaskConvolution",
        "Outputs": [{"Name": "x", "Dimensions": [1, 8, 4, 4], "Format/Datatype": "Channel major FP16"}],
        "ParameterType": "Convolution",
        "TacticName": "sm80_xmma",
    }
    assert parse_layers(json.dumps({"Layers": [detailed, {"Name": "reformat"}]})) == (
        "Convolution conv1 + relu -> Channel major FP16 (sm80_xmma)",
        "? reformat -> ?",
    )


def test_layers_may_hold_control_characters_as_tensorrt_8_writes_them() -> None:
    assert parse_layers('{"Layers": ["conv1\x1e[Conv]", "a\tb\nc"]}') == ("conv1\x1e[Conv]", "a\tb\nc")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Layers": 3}'])
def test_what_is_no_list_of_layers_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_layers(text)
