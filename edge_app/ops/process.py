"""What this process costs, how it takes memory, and how it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

MOST_ARENAS = 4
_M_ARENA_MAX = -8
"""Of mallopt(3); malloc.h."""


def keep_arenas_few(most: int = MOST_ARENAS) -> bool:
    """Have the C library serve all threads from a few arenas; call it before there are threads.

    By default there are up to eight for each core, and each keeps what a decoder once needed: every reader
    that a reconnect starts may get another one, so that memory grows for days. `MALLOC_ARENA_MAX` in the
    environment rules where it is set.

    Returns:
        Whether that was set here; another C library than GNU's has no arenas.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, most))
    except (OSError, AttributeError):
        return False


def rss_bytes() -> int | None:
    """Return the resident memory of this process, or None where Linux does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


class CpuMeter:
    """Processor time of this process, in percent of one core, between one reading and the next."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, used: Callable[[], float] = time.process_time
    ) -> None:
        self._clock, self._used = clock, used
        self._last = (clock(), used())

    def percent(self) -> float | None:
        """Return the share since the last reading; None if no time has passed."""
        now, used = self._clock(), self._used()
        (then, used_then), self._last = self._last, (now, used)
        return None if now <= then else (used - used_then) / (now - then) * 100


def leave(status: int) -> NoReturn:
    """End the process with an exit status, also where a thread hangs inside a library.

    The C++ destructors that run at a usual exit would abort such a process, or crash it.
    """
    if threading.active_count() == 1:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError):  # nobody reads it any more, or it never was
            stream.flush()
    os._exit(status)
