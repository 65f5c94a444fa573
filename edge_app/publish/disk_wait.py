"""How long a thread has waited for a disk that does not answer, by those who look at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge_app.memory import field_of
from edge_app.patience import Patience

TASKS = Path("/proc/self/task")
HANGS_S = 8.0
"""A disk that has not answered for so long is told of, and counts as unwritable."""
LOOKS = 16
"""It is looked at so often at most in the time after which it is told of: everybody asks all the time."""


def io_calls(thread_id: int | None) -> int | None:
    """Return how many reads and writes of a thread have come back (proc_pid_io(5)); None: nobody tells."""
    reads, writes = (field_of(TASKS / f"{thread_id}/io", name) for name in ("syscr", "syscw"))
    return None if reads is None or writes is None else reads + writes


class DiskWait:
    """Tells a thread that works on a disk from one that the disk does not answer.

    To look through a large file, or to take thousands of messages off it, takes longer than any disk may be
    silent, and SQLite does not say how far it is: but each of its reads and writes that comes back is a sign.

    `begin` and `end` are called by the thread, `hangs_s` by anybody.

    Args:
        after_s: From when on it counts as hanging.
        calls: `io_calls`, or a test's.
    """

    def __init__(self, after_s: float, calls: Callable[[int | None], int | None] = io_calls) -> None:
        self._after_s, self._calls = after_s, calls
        self._patience = Patience(after_s / 2)
        self._lock = threading.Lock()
        self._at_work, self._works = False, 0
        self._thread_id: int | None = None
        self._looked_at_s = -after_s
        self._idle_s = 0.0

    def begin(self) -> None:
        """The thread turns to the disk."""
        with self._lock:
            self._at_work, self._works, self._thread_id = True, self._works + 1, threading.get_native_id()
            self._idle_s = 0.0

    def end(self) -> None:
        """The disk has answered, well or not."""
        with self._lock:
            self._at_work, self._idle_s = False, 0.0

    def hangs_s(self) -> float:
        """Return for how many seconds the disk has not answered; 0 until that is too long."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._looked_at_s >= self._after_s / LOOKS:
                self._looked_at_s = now_s
                calls = self._calls(self._thread_id) if self._at_work else None
                self._idle_s = self._patience.look(self._at_work, (self._works, calls))
            return self._idle_s if self._idle_s >= self._after_s else 0.0
