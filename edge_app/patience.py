"""How long something has had work and has done none of it, by those who look at it."""

from __future__ import annotations

import time
from collections.abc import Callable


class Patience:
    """Counts the time in looks.

    While the whole process stands still (SIGSTOP, a paused virtual machine) nobody gets anything done, and
    nobody looks: of the time between two looks no more counts than `most_s`. Not safe for several threads.

    Args:
        most_s: Seconds between two looks that count.
        clock: Seconds that only grow.
    """

    def __init__(self, most_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_s, self._clock = most_s, clock
        self._looked_at_s = clock()
        self._done: object = None
        self._idle_s = 0.0

    def look(self, work: bool, done: object) -> float:
        """Look once.

        Args:
            work: Whether there is something to do.
            done: What changes with everything that is done.

        Returns:
            For how many seconds there has been work, and none of it was done.
        """
        now_s = self._clock()
        passed_s = min(now_s - self._looked_at_s, self._most_s)
        moved = not work or done != self._done
        self._looked_at_s, self._done = now_s, done
        self._idle_s = 0.0 if moved else self._idle_s + passed_s
        return self._idle_s
