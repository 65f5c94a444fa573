"""Whether this machine's clock follows a reference, so that subscribers know what its times are worth."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronised (STA_UNSYNC or a clock fault)."""
CACHE_S = 5.0
STEP_NS = 100_000_000
"""A clock that moves by so much against one that nobody sets was stepped."""


class ClockSync:
    """Says whether the system clock is synchronised; asks the kernel every few seconds, and after a step.

    Args:
        cache_s: How long an answer is kept, in seconds.
    """

    def __init__(self, cache_s: float = CACHE_S) -> None:
        self._cache_ns = int(cache_s * 1e9)
        self._asked_ns: int | None = None
        self._ahead_ns = 0
        """Of the clock on the wall against the one that nobody sets."""
        self._synced = False

    def synced(self) -> bool:
        """Return True if the kernel counts the clock as synchronised; False also where that is unknown."""
        now_ns = time.monotonic_ns()
        ahead_ns = time.time_ns() - now_ns
        if (
            self._asked_ns is None
            or now_ns - self._asked_ns >= self._cache_ns
            or abs(ahead_ns - self._ahead_ns) > STEP_NS
        ):
            self._synced = kernel_clock_synced()
            self._asked_ns, self._ahead_ns = now_ns, ahead_ns
        return self._synced


def kernel_clock_synced() -> bool:
    """Ask the kernel by adjtimex(2), read only. False where it is not Linux or the call is not allowed."""
    timex = ctypes.create_string_buffer(
        1024
    )  # more than any struct timex; its first field, modes, 0 reads only
    try:
        clock_state = int(ctypes.CDLL(None).adjtimex(timex))
    except (OSError, AttributeError):
        return False
    return clock_state not in {-1, TIME_ERROR}


def boot_id() -> str:
    """Return what tells this start of the machine from others; empty where Linux does not tell."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
