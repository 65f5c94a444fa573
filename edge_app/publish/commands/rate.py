"""How many commands are taken."""

from __future__ import annotations

import time
from collections.abc import Callable


class RateLimit:
    """Allows a number a minute; what was not used in a minute is not saved for the next.

    Args:
        per_minute: See above; so many may also come at once.
        clock: Seconds that only grow.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._left = float(per_minute)
        self._at_s = clock()

    def allows(self) -> bool:
        """Return whether one more may come now; if so, it counts."""
        now_s = self._clock()
        self._left = min(self._per_minute, self._left + (now_s - self._at_s) * self._per_minute / 60)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
