"""One process at a time: a lock that says who holds it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from edge_app.errors import EdgeAppError
from edge_app.files.bounded import read_start

POLL_S = 0.2
MOST_BYTES = 1 << 12
"""Of a holder's name."""
TELL_EVERY_S = 10.0
"""How often who waits hears that it still does."""


class LockedError(EdgeAppError):
    """Another process holds the file and did not give it back within the time given."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock: process id, program, and since when (ISO 8601, UTC)."""

    pid: int
    program: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.program}) since {self.since}"


def holder_of(path: Path) -> Holder | None:
    """Return who wrote its name into the lock file; None if that cannot be read.

    Another user may have put something else in its place.
    """
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        return Holder(**json.loads(read_start(path, MOST_BYTES, follow=False)))
    return None


@contextmanager
def hold(
    path: Path,
    timeout_s: float | None = None,
    on_wait: Callable[[Holder | None], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Hold the lock file; the kernel frees it when the process ends, however it ends.

    Args:
        path: The lock file; created if absent, never deleted.
        timeout_s: Seconds to wait for another holder; None for ever.
        on_wait: Called at once if there is another holder, and then every 10 s.
        cancelled: Asked often while waiting; the wait ends once it is true.

    Raises:
        LockedError: It was not free within `timeout_s`, or the wait was cancelled.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        _acquire(descriptor, path, timeout_s, on_wait, cancelled)
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        program = Path(sys.argv[0] or "python").name
        name = json.dumps(asdict(Holder(os.getpid(), program, since))).encode()
        with contextlib.suppress(OSError):  # a full disk: it is held all the same, by a nameless process
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, name, 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(
    descriptor: int,
    path: Path,
    timeout_s: float | None,
    on_wait: Callable[[Holder | None], None] | None,
    cancelled: Callable[[], bool],
) -> None:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    told_at_s = -float("inf")
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is not None and time.monotonic() - told_at_s >= TELL_EVERY_S:
                told_at_s = time.monotonic()
                on_wait(holder_of(path))
        else:
            return
        if cancelled() or (deadline is not None and time.monotonic() >= deadline):
            raise LockedError(
                f"{path} is held by {holder_of(path) or 'another process'}",
                hint="Wait for it to finish, or end that process.",
            )
        time.sleep(POLL_S)
