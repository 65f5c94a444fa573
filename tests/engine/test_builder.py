"""The building child process: how it ends, and that this process lives on."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_app.engine import child
from edge_app.engine.build_spec import BuildSpec
from edge_app.engine.builder import build
from edge_app.engine.errors import BuildError
from edge_app.engine.events import BuildEvent, EventKind
from edge_app.engine.memory import OomKills
from edge_app.engine.options import (
    BuildLimits,
    BuildOptions,
    CalibrationMethod,
    HardwareCompatibility,
    Precision,
    Profile,
)
from edge_app.memory import MIB

ROOT = Path(__file__).parents[2]
Command = Callable[[str], list[str]]


@pytest.fixture
def spec(tmp_path: Path) -> BuildSpec:
    return BuildSpec(
        model=str(tmp_path / "model.onnx"),
        plan=str(tmp_path / "plan"),
        precision=Precision.FP32,
        profile=Profile(64, 64),
        options=BuildOptions(),
    )


def builds(folder: Path) -> list[int]:
    log = folder / "builds.log"
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_a_specification_is_itself_after_a_round_trip(tmp_path: Path, spec: BuildSpec) -> None:
    spec.write(tmp_path / "spec.json")
    assert BuildSpec.read(tmp_path / "spec.json") == spec
    other = BuildSpec(
        model="m",
        plan="p",
        precision=Precision.INT8,
        profile=Profile(1, 2, 3, 4, 5),
        options=BuildOptions(5, 0, True, HardwareCompatibility.AMPERE_PLUS, False),
        workspace_bytes=7,
        timing_cache="t",
        calibration="c",
        calibration_method=CalibrationMethod.ENTROPY,
        quantized="q",
        parent_pid=1,
    )
    other.write(tmp_path / "spec.json")
    assert BuildSpec.read(tmp_path / "spec.json") == other


def test_a_build_leaves_its_plan(spec: BuildSpec, odd_worker: Command, events: list[BuildEvent]) -> None:
    result = build(spec, BuildLimits(), events.append, command=odd_worker("good"))
    assert result.attempts == 1
    assert result.build_s == 0.5
    assert Path(spec.plan).read_bytes().startswith(b"plan for fp32")
    assert [event.kind for event in events] == [EventKind.RESULT]


def test_what_else_is_printed_is_no_event(
    spec: BuildSpec, odd_worker: Command, events: list[BuildEvent]
) -> None:
    build(spec, BuildLimits(), events.append, command=odd_worker("noisy"))
    assert [event.kind for event in events] == [EventKind.RESULT]


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("crashes", r"the builder died: it was ended by SIGSEGV\n.*native stack of the crash"),
        ("killed", r"somebody killed it \(SIGKILL\); the kernel counted no process killed"),
        ("silent_exit", r"it ended with status 3 without a result"),
    ],
)
def test_a_death_is_explained(spec: BuildSpec, odd_worker: Command, mode: str, words: str) -> None:
    with pytest.raises(BuildError, match=re.compile(words, re.DOTALL)) as caught:
        build(spec, BuildLimits(), lambda _: None, command=odd_worker(mode))
    assert caught.value.kind == "died"


def test_a_kill_for_want_of_memory_is_told_from_another(
    spec: BuildSpec, odd_worker: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([OomKills(3, 0), OomKills(4, 0)])
    monkeypatch.setattr(OomKills, "read", classmethod(lambda cls: next(counts)))
    with pytest.raises(BuildError, match="the kernel killed it because memory ran out") as caught:
        build(spec, BuildLimits(attempts=1), lambda _: None, command=odd_worker("killed"))
    assert caught.value.kind == "out_of_memory"


def test_a_build_that_hangs_is_ended(tmp_path: Path, spec: BuildSpec, odd_worker: Command) -> None:
    with pytest.raises(BuildError, match="it was not done after 1 s"):
        build(spec, BuildLimits(timeout_s=1.0), lambda _: None, command=odd_worker("hangs"))
    assert not is_alive(builds(tmp_path)[0])


def test_a_build_can_be_cancelled(
    tmp_path: Path, spec: BuildSpec, odd_worker: Command, events: list[BuildEvent]
) -> None:
    cancelled = threading.Event()

    def cancel_once_it_hangs(event: BuildEvent) -> None:
        events.append(event)
        cancelled.set()

    with pytest.raises(BuildError, match="it was cancelled") as caught:
        build(
            spec,
            BuildLimits(),
            cancel_once_it_hangs,
            command=odd_worker("hangs"),
            cancelled=cancelled.is_set,
        )
    assert caught.value.kind == "cancelled"
    assert not is_alive(builds(tmp_path)[0])


def test_a_builder_that_does_not_leave_is_ended_and_its_plan_kept(
    tmp_path: Path, spec: BuildSpec, odd_worker: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "LEAVING_S", 0.2)
    build(spec, BuildLimits(), lambda _: None, command=odd_worker("lingers"))
    assert Path(spec.plan).exists()
    assert not is_alive(builds(tmp_path)[0])


def test_a_listener_that_fails_ends_the_build(tmp_path: Path, spec: BuildSpec, odd_worker: Command) -> None:
    def fail(event: BuildEvent) -> None:
        raise RuntimeError(event.text)

    with pytest.raises(RuntimeError, match="hanging"):
        build(spec, BuildLimits(), fail, command=odd_worker("hangs"))
    assert not is_alive(builds(tmp_path)[0])


def test_a_build_that_eats_memory_is_ended_and_tried_with_less_workspace(
    tmp_path: Path, spec: BuildSpec, odd_worker: Command, events: list[BuildEvent]
) -> None:
    limits = BuildLimits(workspace_mib=64, memory_mib=200, attempts=2)
    with pytest.raises(BuildError, match=r"it held 2\d\d MiB of memory, and 200 MiB are allowed") as caught:
        build(spec, limits, events.append, command=odd_worker("eats_memory"))
    assert caught.value.kind == "out_of_memory"
    assert "swap" in str(caught.value.hint)
    assert len(builds(tmp_path)) == 2
    notes = [event.text for event in events if event.kind is EventKind.NOTE]
    assert len(notes) == 1
    assert "attempt 2 of 2 with a workspace of 32 MiB instead of 64" in notes[0]


def test_workspace_is_halved_until_the_build_fits(
    tmp_path: Path, spec: BuildSpec, odd_worker: Command, events: list[BuildEvent]
) -> None:
    result = build(
        spec,
        BuildLimits(),
        events.append,
        command=odd_worker("needs_little_workspace"),
        free_device_bytes=256 * MIB,
    )
    assert result.attempts == 3
    assert result.workspace_bytes == 32 * MIB
    assert len(builds(tmp_path)) == 3
    assert len(result.notes) == 2


def test_what_did_not_fail_for_memory_is_not_tried_again(
    tmp_path: Path, spec: BuildSpec, odd_worker: Command
) -> None:
    with pytest.raises(BuildError):
        build(spec, BuildLimits(), lambda _: None, command=odd_worker("silent_exit"))
    assert len(builds(tmp_path)) == 1


def test_warnings_do_not_hide_that_a_build_lives(
    tmp_path: Path, spec: BuildSpec, odd_worker: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "TICK_S", 0.2)

    def open_once_it_is_told(event: BuildEvent) -> None:
        if event.text == "still building":
            (tmp_path / "open").touch()

    build(spec, BuildLimits(timeout_s=20.0), open_once_it_is_told, command=odd_worker("mutters"))


PARENT = """
import sys
from pathlib import Path
from edge_app.engine.build_spec import BuildSpec
from edge_app.engine.builder import build
from edge_app.engine.options import BuildLimits
build(BuildSpec.read(Path(sys.argv[1])), BuildLimits(), lambda event: print(event.text, flush=True),
      command=sys.argv[2:])
"""


def test_the_child_dies_with_its_parent(tmp_path: Path, spec: BuildSpec, odd_worker: Command) -> None:
    spec.write(tmp_path / "spec.json")
    command = [sys.executable, "-c", PARENT, str(tmp_path / "spec.json"), *odd_worker("hangs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "hanging\n"
        builder = builds(tmp_path)[0]
        assert is_alive(builder)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_until(lambda: not is_alive(builder), "the builder outlives its parent")
