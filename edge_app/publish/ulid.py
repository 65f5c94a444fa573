"""Message ids: ULIDs, which sort by time and, made by one process, by the order of their making.

Format: https://github.com/ulid/spec (48 bits of Unix milliseconds, 80 random bits, Crockford's base 32).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(high + low for high in ALPHABET for low in ALPHABET)
_RANDOM_BITS = 80


class UlidFactory:
    """Makes ULIDs, each greater than the one before, also when the clock steps back. Thread-safe.

    Args:
        now_ns: Unix time in nanoseconds.
    """

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._last = 0

    def __call__(self) -> str:
        """Return a new ULID: 26 characters."""
        now_ms = self._now_ns() // 1_000_000
        with self._lock:
            if now_ms > self._last >> _RANDOM_BITS:
                self._last = now_ms << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
            else:
                self._last += 1
            value = self._last
        return encode(value)


def encode(value: int) -> str:
    """Write a 128 bit number as 26 characters of Crockford's base 32, two characters for each 10 bits."""
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(120, -1, -10)])
