"""Why the runs of the daemon ended that nobody asked to end, kept over its restarts.

A process cannot be asked for its own end, and the next one, seconds later, counts everything anew. So what
went wrong is written to a file before the end, and told by whoever comes next. A run that left no word was
killed, or crashed: unless the whole machine was started since.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from edge_app.errors import EXIT_CONFIG, EdgeAppError, StageFailedError, StageHungError
from edge_app.files.bounded import read_bounded
from edge_app.files.replacing import replace_content, sync_file
from edge_app.ops.clock import boot_id

logger = logging.getLogger(__name__)

MOST_BYTES = 1 << 16


class Failure(str, Enum):
    """How a run ended that should not have."""

    HUNG = "hung"
    """A part had work and did none of it."""
    FAILED = "failed"
    """A part failed, or the daemon could not start."""
    KILLED = "killed"
    """It left no word: a crash, a signal, no memory."""


@dataclass(frozen=True, slots=True)
class LastFailure:
    """The newest failure: how, of which stage (empty: none, or not known), and when in Unix time."""

    failure: Failure
    stage: str
    at_s: float


@dataclass(frozen=True, slots=True)
class _Process:
    """A process that no other one is taken for: its number, its start in clock ticks, and the machine's."""

    pid: int
    ticks: int
    boot: str

    @classmethod
    def this(cls) -> _Process:
        return cls(os.getpid(), _start_ticks(os.getpid()), boot_id())

    @property
    def runs(self) -> bool:
        return self.boot == boot_id() and _start_ticks(self.pid) == self.ticks != 0


@dataclass(frozen=True, slots=True)
class _Content:
    """What the file holds; `process` is the one whose run has left no word yet."""

    counts: Mapping[Failure, int] = field(default_factory=lambda: dict.fromkeys(Failure, 0))
    last: LastFailure | None = None
    process: _Process | None = None


class RunRecord:
    """Counts the failures of one daemon's runs. Any thread.

    Args:
        path: Where it is kept; None: nowhere, and nothing is told.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._content = _Content()
        self._open = False
        self._told = False

    @property
    def counts(self) -> Mapping[Failure, int] | None:
        """How many runs ended by each failure, this one included; None where that is not kept."""
        return self._content.counts if self._told else None

    @property
    def last(self) -> LastFailure | None:
        """The newest failure."""
        return self._content.last if self._told else None

    def begin(self) -> None:
        """A run begins: look how the one before ended."""
        if self._path is None:
            return
        before = _read(self._path)
        if before.process is not None and before.process.runs:
            logger.info("process %d has the same configuration, and keeps %s", before.process.pid, self._path)
            return
        if before.process is not None and before.process.boot == boot_id():
            logger.warning(
                "the run before has left no word of its end: a crash, a signal, or no memory",
                extra={"event": "run_killed"},
            )
            before = _counted(before, LastFailure(Failure.KILLED, "", time.time()))
        with self._lock:
            content = _Content(before.counts, before.last, _Process.this())
            self._told = self._open = self._write(content)
        if self._open:  # nobody waits for a disk, which may be what hangs, as it was in the run before
            threading.Thread(target=_sync, args=(self._path,), name="run-record", daemon=True).start()

    def failed(self, error: BaseException) -> None:
        """This run ends by an error, of which only the first counts; written when this returns.

        A configuration or model that cannot be used is none: nothing runs again until somebody has mended it.
        """
        if isinstance(error, EdgeAppError) and error.exit_status == EXIT_CONFIG:
            self.ended()
            return
        failure = Failure.HUNG if isinstance(error, StageHungError) else Failure.FAILED
        stage = error.stage if isinstance(error, StageFailedError) else ""
        with self._lock:
            if self._open:
                self._open = False
                self._write(_counted(self._content, LastFailure(failure, stage, time.time())))

    def ended(self) -> None:
        """This run ends as it should."""
        with self._lock:
            if self._open:
                self._open = False
                self._write(_Content(self._content.counts, self._content.last))

    def _write(self, content: _Content) -> bool:
        """Write the file, whole or not at all."""
        assert self._path is not None  # noqa: S101 - it was begun
        self._content = content
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_content(self._path, json.dumps(asdict(content)).encode())
        except OSError as error:
            logger.warning("how this run ends is not kept: %s: %s", self._path, error.strerror or error)
            return False
        return True


def _sync(path: Path) -> None:
    """Have it on the disk, or a loss of power soon after a start could leave an empty file, and no counts."""
    with suppress(OSError):  # the content is in force all the same
        sync_file(path)


def _counted(before: _Content, last: LastFailure) -> _Content:
    counts = {**before.counts, last.failure: before.counts[last.failure] + 1}
    return _Content(counts, last)


def _read(path: Path) -> _Content:
    """Return what a file holds; of one that is absent or damaged, that there was nothing."""
    try:
        found: dict[str, Any] = json.loads(read_bounded(path, MOST_BYTES))
        last, process = found["last"], found["process"]
        return _Content(
            {failure: int(found["counts"].get(failure.value, 0)) for failure in Failure},
            last and LastFailure(Failure(last["failure"]), str(last["stage"]), float(last["at_s"])),
            process and _Process(int(process["pid"]), int(process["ticks"]), str(process["boot"])),
        )
    except FileNotFoundError:
        return _Content()
    except (OSError, ValueError, OverflowError, TypeError, KeyError, AttributeError, RecursionError) as error:
        logger.warning("how runs ended so far cannot be read, and is counted anew: %s: %s", path, error)
        return _Content()


def _start_ticks(pid: int) -> int:
    """Return when a process was started, in ticks of the kernel's clock; 0 if there is none; see proc(5)."""
    try:
        # After the name, which may hold anything, the third field comes first; the start is the 22nd.
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
