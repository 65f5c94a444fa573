"""From a request to an engine that may run: found, built, waited for, refused."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_app.engine.errors import BuildError, RefusedEngineError
from edge_app.engine.events import BuildEvent, EventKind
from edge_app.engine.identity import DeviceFacts
from edge_app.engine.manifest import EngineState
from edge_app.engine.obtain import CalibrationSet, EngineRequest, Workshop, obtain_engine
from edge_app.engine.options import Precision, Profile
from edge_app.engine.store import EngineStore, StoredEngine
from edge_app.engine.verify import DEFAULT_THRESHOLDS, VerifyReport
from tests.engine.models import SIZE, detector, save
from tests.engine.test_builder import builds, is_alive, wait_until

ROOT = Path(__file__).parents[2]
Command = Callable[[str], list[str]]


def report(matched: int) -> VerifyReport:
    limits = DEFAULT_THRESHOLDS[Precision.FP16]
    return VerifyReport(Precision.FP16, 10, {}, 100, matched, (0.01, 0.001), limits)


@pytest.fixture
def request_fp16(model: Path) -> EngineRequest:
    return EngineRequest("demo", model, Precision.FP16, Profile(SIZE, SIZE, 1, 2, 4))


@pytest.fixture
def workshop(
    store: EngineStore, device: DeviceFacts, odd_worker: Command, events: list[BuildEvent]
) -> Workshop:
    return Workshop(store, device, lambda *_: report(100), emit=events.append, command=odd_worker("good"))


def test_the_second_start_takes_the_engine_of_the_first(
    workshop: Workshop, request_fp16: EngineRequest, tmp_path: Path
) -> None:
    first = obtain_engine(workshop, request_fp16)
    assert first.reasons == ("there is no engine of this model yet",)
    assert first.plan.startswith(b"plan for fp16")
    second = obtain_engine(workshop, request_fp16)
    assert second.reasons == ()
    assert second == replace(first, reasons=())
    assert len(builds(tmp_path)) == 1


def test_a_changed_model_is_built_again_and_says_why(
    workshop: Workshop, request_fp16: EngineRequest, events: list[BuildEvent]
) -> None:
    first = obtain_engine(workshop, request_fp16)
    save(detector(seed=1), request_fp16.model)
    events.clear()
    second = obtain_engine(workshop, request_fp16)
    assert len(second.reasons) == 1
    assert "built from model" in second.reasons[0]
    assert any("built from model" in event.text for event in events if event.kind is EventKind.NOTE)
    assert [engine.plan_path for engine in workshop.store.engines()] == [second.engine.plan_path]
    assert not first.engine.plan_path.exists()


def test_another_tensorrt_builds_again(workshop: Workshop, request_fp16: EngineRequest) -> None:
    obtain_engine(workshop, request_fp16)
    updated = replace(workshop, device=replace(workshop.device, tensorrt="10.3.0"))
    assert "built for TensorRT 8.6.0, this is 10.3.0" in obtain_engine(updated, request_fp16).reasons[0]


def test_a_damaged_plan_is_built_again(workshop: Workshop, request_fp16: EngineRequest) -> None:
    first = obtain_engine(workshop, request_fp16)
    first.engine.plan_path.write_bytes(b"")
    second = obtain_engine(workshop, request_fp16)
    assert second.plan == first.plan
    assert "not the plan that was built" in second.reasons[0]


def test_an_engine_under_its_threshold_is_refused_and_not_built_again(
    workshop: Workshop, request_fp16: EngineRequest, tmp_path: Path
) -> None:
    strict = replace(workshop, verify=lambda *_: report(98))
    with pytest.raises(RefusedEngineError, match=r"98\.00% of the boxes match, wanted are 99\.00%"):
        obtain_engine(strict, request_fp16)
    with pytest.raises(RefusedEngineError, match=r"98\.00% of the boxes match"):
        obtain_engine(strict, request_fp16)
    assert len(builds(tmp_path)) == 1
    taken = obtain_engine(strict, request_fp16, accept_refused=True)
    assert len(builds(tmp_path)) == 1
    assert taken.engine.manifest.state is EngineState.GOOD
    assert taken.engine.manifest.verification is not None
    assert taken.engine.manifest.verification["accepted"] is True
    assert obtain_engine(strict, request_fp16).plan == taken.plan


def test_the_last_good_engine_serves_while_its_successor_is_refused(
    workshop: Workshop, request_fp16: EngineRequest
) -> None:
    first = obtain_engine(workshop, request_fp16)
    save(detector(seed=1), request_fp16.model)
    with pytest.raises(RefusedEngineError):
        obtain_engine(replace(workshop, verify=lambda *_: report(10)), request_fp16)
    last_good = workshop.store.last_good("demo", first.engine.manifest.identity)
    assert last_good is not None
    assert workshop.store.read(last_good) == first.plan


def test_a_candidate_whose_verification_was_interrupted_is_not_built_again(
    workshop: Workshop, request_fp16: EngineRequest, tmp_path: Path
) -> None:
    def interrupted(engine: StoredEngine, plan: bytes) -> VerifyReport:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtain_engine(replace(workshop, verify=interrupted), request_fp16)
    assert obtain_engine(workshop, request_fp16).engine.manifest.state is EngineState.GOOD
    assert len(builds(tmp_path)) == 1


def test_a_build_is_forced(workshop: Workshop, request_fp16: EngineRequest, tmp_path: Path) -> None:
    obtain_engine(workshop, request_fp16)
    assert obtain_engine(workshop, request_fp16, rebuild=True).reasons == ("a new build was asked for",)
    assert len(builds(tmp_path)) == 2


def test_a_failed_build_leaves_the_old_engine_and_no_litter(
    workshop: Workshop, request_fp16: EngineRequest, odd_worker: Command
) -> None:
    first = obtain_engine(workshop, request_fp16)
    updated = replace(workshop, device=replace(workshop.device, cuda="12.6"), command=odd_worker("crashes"))
    with pytest.raises(BuildError, match="SIGSEGV"):
        obtain_engine(updated, request_fp16)
    assert workshop.store.leftovers() == []
    assert obtain_engine(workshop, request_fp16).plan == first.plan


def test_int8_keeps_its_calibration_for_the_next_tensorrt(
    workshop: Workshop, request_fp16: EngineRequest, tmp_path: Path
) -> None:
    frames = tmp_path / "frames.npy"
    np.save(frames, np.zeros((1, 3, SIZE, SIZE), np.float32))
    calibrated = replace(request_fp16, precision=Precision.INT8, calibration=CalibrationSet(frames, "c" * 64))
    first = obtain_engine(workshop, calibrated)
    sha256 = first.engine.manifest.identity.calibration_sha256
    assert sha256 is not None
    store = workshop.store
    store.quantized_path("demo", first.engine.manifest.identity.model_sha256, sha256).write_bytes(b"onnx")
    later = replace(calibrated, calibration=None)
    assert obtain_engine(workshop, later).plan == first.plan
    updated = replace(workshop, device=replace(workshop.device, tensorrt="10.3.0"))
    again = obtain_engine(updated, later)
    assert again.engine.manifest.identity.calibration_sha256 == sha256
    assert b"-int8-" in again.plan, "the quantised graph is what is built"


def test_frames_asked_for_by_other_settings_are_not_those_of_the_last_time(store: EngineStore) -> None:
    store.quantized_path("demo", "a" * 64, "c" * 64, "entropy1").write_bytes(b"onnx")
    assert store.last_calibration("demo", "a" * 64, "entropy1") == "c" * 64
    assert store.last_calibration("demo", "a" * 64, "minmax22") is None
    assert store.last_calibration("demo", "a" * 64) == "c" * 64, "without settings any will do"
    found = store.find_quantized("demo", "a" * 64, "c" * 64)
    assert found == store.quantized_path("demo", "a" * 64, "c" * 64, "entropy1")
    assert store.find_quantized("demo", "a" * 64, "d" * 64) is None


PROCESS = """
import sys
from pathlib import Path
from edge_app.engine.identity import DeviceFacts
from edge_app.engine.obtain import EngineRequest, Workshop, obtain_engine
from edge_app.engine.options import Precision, Profile
from edge_app.engine.store import EngineStore
say = lambda event: print(event.text, flush=True)
device = DeviceFacts("8.6.0", "12.2", "Orin", "8.7", "36.3")
workshop = Workshop(EngineStore(sys.argv[1]), device, None, emit=say, command=sys.argv[3:])
request = EngineRequest("demo", Path(sys.argv[2]), Precision.FP16, Profile(64, 64, 1, 2, 4))
obtained = obtain_engine(workshop, request)
print("built" if obtained.reasons else "found", obtained.engine.manifest.plan_sha256, flush=True)
"""


def start(store: EngineStore, model: Path, command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(store.directory), str(model), *command],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )


def line_with(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    return next(line for line in process.stdout if words in line)


def test_of_two_processes_one_builds_and_the_other_takes_its_engine(
    store: EngineStore, model: Path, odd_worker: Command, tmp_path: Path
) -> None:
    command = odd_worker("waits_at_the_gate")
    with start(store, model, command) as one:
        line_with(one, "at the gate")
        with start(store, model, command) as other:
            assert f"waiting for process {one.pid} " in line_with(other, "waiting")
            (tmp_path / "open").touch()
            built, found = line_with(one, "built "), line_with(other, "found ")
    assert built.split()[1] == found.split()[1]
    assert len(builds(tmp_path)) == 1


def test_a_killed_build_is_no_obstacle(
    store: EngineStore, workshop: Workshop, request_fp16: EngineRequest, odd_worker: Command, tmp_path: Path
) -> None:
    with start(store, request_fp16.model, odd_worker("hangs")) as process:
        line_with(process, "hanging")
        process.send_signal(signal.SIGKILL)
    litter = store.leftovers()
    assert len(litter) == 1
    wait_until(lambda: not is_alive(builds(tmp_path)[0]), "the builder outlives its parent")
    obtained = obtain_engine(replace(workshop, command=odd_worker("good")), request_fp16)
    assert obtained.plan.startswith(b"plan for fp16")
    assert store.leftovers() == []
