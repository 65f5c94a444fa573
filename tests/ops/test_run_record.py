"""How a run ended is known to the next one, however it ended."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from edge_app.errors import ConfigError, EdgeAppError, StageFailedError, StageHungError
from edge_app.ops import run_record
from edge_app.ops.run_record import Failure, RunRecord
from tests.brokers import until
from tests.processes import environment

NEVER = dict.fromkeys(Failure, 0)
RUN = """
import sys, time
from pathlib import Path
from edge_app.errors import StageHungError
from edge_app.ops.run_record import RunRecord
record = RunRecord(Path(sys.argv[1]))
record.begin()
if sys.argv[2] == "hangs":
    record.failed(StageHungError("inference", 9.0))
print("begun", flush=True)
time.sleep(60)
"""


def begun(path: Path) -> RunRecord:
    record = RunRecord(path)
    record.begin()
    return record


@contextmanager
def running(program: str, path: Path, what: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Lend a process that has begun a run, and what it says; it is killed in the end."""
    child = subprocess.Popen(
        [sys.executable, "-c", program, path, what], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child:
        try:
            assert child.stdout.readline() == "begun\n"
            yield child, child.stdout
        finally:
            child.kill()


def killed(path: Path, what: str = "works") -> None:
    """Let a process begin a run, and kill it."""
    with running(RUN, path, what):
        if what == "works":
            assert begun(path).counts is None, "another run of it lives, and it is not touched"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "run-1.json"


def test_a_run_that_ends_as_it_should_is_no_failure(path: Path) -> None:
    first = begun(path)
    assert (first.counts, first.last) == (NEVER, None)
    first.ended()
    first.failed(RuntimeError("while it was taken down"))
    second = begun(path)
    assert (second.counts, second.last) == (NEVER, None)


@pytest.mark.parametrize(
    ("error", "failure", "stage"),
    [
        (StageHungError("inference faces", 9.0), Failure.HUNG, "inference faces"),
        (StageFailedError("feeder", RuntimeError("no device")), Failure.FAILED, "feeder"),
        (EdgeAppError("The engine cannot be built."), Failure.FAILED, ""),
        (ZeroDivisionError(), Failure.FAILED, ""),
    ],
)
def test_the_first_error_counts_and_is_known_to_the_next_run(
    path: Path, error: BaseException, failure: Failure, stage: str
) -> None:
    first = begun(path)
    first.failed(error)
    first.failed(StageFailedError("postprocess", RuntimeError()))
    first.ended()
    assert first.counts == {**NEVER, failure: 1}, "it is told while the process still answers"
    second = begun(path)
    assert second.counts == {**NEVER, failure: 1}
    assert second.last is not None
    assert (second.last.failure, second.last.stage) == (failure, stage)
    second.ended()
    assert begun(path).counts == {**NEVER, failure: 1}


def test_what_only_a_person_can_mend_is_no_failure(path: Path) -> None:
    begun(path).failed(ConfigError("The configuration cannot be used."))
    assert begun(path).counts == NEVER


def test_a_process_that_is_killed_leaves_no_word_and_is_counted(path: Path) -> None:
    killed(path)
    record = begun(path)
    assert record.counts == {**NEVER, Failure.KILLED: 1}
    assert record.last is not None
    assert record.last.failure is Failure.KILLED


def test_one_that_hangs_is_known_though_it_is_killed(path: Path) -> None:
    killed(path, "hangs")
    record = begun(path)
    assert record.counts == {**NEVER, Failure.HUNG: 1}
    assert record.last is not None
    assert record.last.stage == "inference"


STUBBORN = """
import sys, threading, time
from pathlib import Path
from edge_app.ops.run_record import RunRecord
from edge_app.ops.signals import stop_on_signals
record, stop = RunRecord(Path(sys.argv[1])), threading.Event()
stop_on_signals(stop, record.ended)
record.begin()
if sys.argv[2] == "no thread":  # as where there are too many, or Python ends
    threading.Thread.start = lambda _: 1 / 0
print("begun", flush=True)
stop.wait()
with record._lock if sys.argv[2] == "locked" else threading.Lock():
    print("asked", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("second", "state", "status", "failures"),
    [
        (signal.SIGTERM, "free", 143, 0),
        (signal.SIGINT, "free", 130, 0),
        (signal.SIGKILL, "free", -9, 1),
        (signal.SIGTERM, "locked", 143, 1),
        (signal.SIGTERM, "no thread", 143, 1),
    ],
)
def test_one_that_was_asked_to_stop_and_does_not(
    path: Path, second: signal.Signals, state: str, status: int, failures: int
) -> None:
    """Whoever asks twice has what he wants; that it hung until it was killed is told."""
    with running(STUBBORN, path, state) as (child, said):
        child.send_signal(signal.SIGTERM)
        assert said.readline() == "asked\n"
        child.send_signal(second)
        assert child.wait(10) == status
    assert begun(path).counts == {**NEVER, Failure.KILLED: failures}


def test_a_machine_that_was_started_anew_is_no_failure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(path)
    monkeypatch.setattr(run_record, "boot_id", lambda: "the next one")
    assert begun(path).counts == NEVER


def test_a_number_that_another_process_has_by_now_is_not_taken_for_the_run(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(run_record, "_start_ticks", lambda _: 1)
        begun(path)
    assert f'"pid": {os.getpid()}' in path.read_text()
    assert begun(path).counts == {**NEVER, Failure.KILLED: 1}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"counts": {"killed": Infinity}, "last": null, "process": null}',
        '{"counts": 1, "last": 2, "process": 3}',
        "[" * 60_000,
        "x" * 70_000,
        '{"counts": {}}',
    ],
)
def test_a_damaged_file_is_begun_anew(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    assert begun(path).counts == NEVER
    assert begun(path).counts is None, "it is this process's now"


def test_its_beginning_is_brought_to_the_disk_and_nobody_waits_for_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    answers = threading.Event()

    def slow(descriptor: int) -> None:
        assert answers.wait(20)
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", slow)
    record = begun(path)
    assert record.counts == NEVER, "the disk has not answered yet"
    assert synced == []
    files = {path.stat().st_ino, path.parent.stat().st_ino}
    answers.set()
    until(lambda: files <= set(synced), "the content is on the disk, and its name")


def test_where_nothing_can_be_synced_it_is_kept_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fail)
    begun(path).ended()
    assert begun(path).counts == NEVER


def test_without_a_place_nothing_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = RunRecord()
    nowhere.begin()
    nowhere.failed(RuntimeError())
    assert (nowhere.counts, nowhere.last) == (None, None)
    (tmp_path / "file").touch()
    assert begun(tmp_path / "file" / "run.json").counts is None
    assert "how this run ends is not kept" in caplog.text
