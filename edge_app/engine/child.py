"""One building child process: started, watched, ended, and its end explained."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, cast

from edge_app.engine.events import BuildEvent, EventKind, EventSink
from edge_app.engine.memory import OomKills, resident_bytes
from edge_app.files.child_environment import child_environment
from edge_app.memory import MIB

logger = logging.getLogger(__name__)

POLL_S = 0.25
STDERR_LINES = 12
CANCELLED = "it was cancelled"
LEAVING_S = 30.0
"""Seconds that the child has to end after its result."""
TICK_S = 10.0
"""Seconds without a phase or progress of the child after which it is said that it lives."""


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """How a child ended.

    Attributes:
        last: Its result or failure event; None if it died without one.
        cause: In words why it died; empty if it said so itself.
        out_of_memory: Whether it died for want of memory.
        cancelled: Whether it was ended because the caller wanted so.
        stderr: Its last lines on standard error.
        peak_bytes: The most resident memory seen.
    """

    last: BuildEvent | None
    cause: str
    out_of_memory: bool
    cancelled: bool
    stderr: tuple[str, ...]
    peak_bytes: int


class BuildChild:
    """Runs a command that speaks `BuildEvent` lines, in its own process group.

    Args:
        memory_bytes: Resident memory at which it is ended.
        timeout_s: Seconds after which it is ended.
        cancelled: Asked often; the child is ended once it is true.
    """

    def __init__(self, memory_bytes: int, timeout_s: float, cancelled: Callable[[], bool]) -> None:
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s
        self._cancelled = cancelled
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._last: BuildEvent | None = None
        self._peak_bytes = 0
        self._ended_for = ""
        self._held_too_much = False
        self._last_at_s = 0.0
        self._spoke_at_s = 0.0

    def run(self, command: Sequence[str], emit: EventSink) -> ChildEnd:
        """Run `command` to its end and return how it ended. Call it once."""
        kills = OomKills.read()
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=child_environment(PYTHONUNBUFFERED="1"),
        )
        with process:
            try:
                self._watch(process, emit)
                process.wait(LEAVING_S)
            except subprocess.TimeoutExpired:
                logger.warning("the builder did not end after its last word, and is killed")
            finally:
                _kill_group(process)
        return self._explain(process.returncode, kills)

    def _watch(self, process: subprocess.Popen[bytes], emit: EventSink) -> None:
        started = self._spoke_at_s = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for stream, take in ((process.stdout, self._take_event), (process.stderr, self._take_stderr)):
                os.set_blocking(cast("IO[bytes]", stream).fileno(), False)
                selector.register(cast("IO[bytes]", stream), selectors.EVENT_READ, _Lines(take))
            while selector.get_map():
                for key, _ in selector.select(POLL_S):
                    if not key.data.read(cast("IO[bytes]", key.fileobj), emit):
                        selector.unregister(key.fileobj)
                elapsed_s = time.monotonic() - started
                self._last_at_s = elapsed_s if self._last is None else self._last_at_s
                self._limit(process, elapsed_s)
                if time.monotonic() - self._spoke_at_s >= TICK_S:
                    self._spoke_at_s = time.monotonic()
                    emit(BuildEvent(EventKind.PROGRESS, "still building", self._spoke_at_s - started))
                if process.poll() is not None and not selector.select(0):
                    # A grandchild may hold the pipes open for longer.
                    break

    def _limit(self, process: subprocess.Popen[bytes], elapsed_s: float) -> None:
        resident = resident_bytes(process.pid)
        self._peak_bytes = max(self._peak_bytes, resident)
        if self._ended_for:
            return
        if self._last is not None:
            # All is said; a library that hangs while it is unloaded shall not hold the build up.
            if elapsed_s > self._last_at_s + LEAVING_S:
                _kill_group(process)
        elif self._cancelled():
            self._ended_for = CANCELLED
        elif resident > self._memory_bytes:
            self._held_too_much = True
            self._ended_for = (
                f"it held {resident // MIB} MiB of memory, and {self._memory_bytes // MIB} MiB are allowed"
            )
        elif elapsed_s > self._timeout_s:
            self._ended_for = f"it was not done after {elapsed_s:.0f} s"
        if self._ended_for:
            _kill_group(process)

    def _explain(self, status: int, kills: OomKills) -> ChildEnd:
        said_so = self._last is not None and not self._ended_for
        killed_for_memory = status == -signal.SIGKILL and OomKills.read().since(kills)
        cause = self._ended_for
        if not cause and not said_so:
            cause = _death(status, killed_for_memory=killed_for_memory)
        return ChildEnd(
            last=self._last if said_so else None,
            cause=cause,
            out_of_memory=self._held_too_much or (not self._ended_for and killed_for_memory),
            cancelled=self._ended_for == CANCELLED,
            stderr=tuple(self._stderr),
            peak_bytes=self._peak_bytes,
        )

    def _take_event(self, line: str, emit: EventSink) -> None:
        event = BuildEvent.from_line(line)
        if event is None:
            return
        if event.kind in {EventKind.RESULT, EventKind.FAILED}:
            self._last = event
        elif event.kind in {EventKind.PHASE, EventKind.PROGRESS}:
            self._spoke_at_s = time.monotonic()
        emit(event)

    def _take_stderr(self, line: str, emit: EventSink) -> None:  # noqa: ARG002 - one signature for both streams
        if line.strip():
            self._stderr.append(line.rstrip()[:500])


class _Lines:
    """Cuts a stream into lines."""

    def __init__(self, take: Callable[[str, EventSink], None]) -> None:
        self._take = take
        self._rest = b""

    def read(self, stream: IO[bytes], emit: EventSink) -> bool:
        """Take what is there; return False at the end of the stream."""
        content = os.read(stream.fileno(), 1 << 16)
        *lines, self._rest = (self._rest + content).split(b"\n")
        for line in lines:
            self._take(line.decode(errors="replace"), emit)
        return bool(content)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _death(status: int, *, killed_for_memory: bool) -> str:
    if killed_for_memory:
        return "the kernel killed it because memory ran out (SIGKILL)"
    if status == -signal.SIGKILL:
        return "somebody killed it (SIGKILL); the kernel counted no process killed for want of memory"
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}"
    return f"it ended with status {status} without a result"
