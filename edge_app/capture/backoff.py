"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Waits that double from `min_s` to `max_s`, each shortened by up to half so that cameras spread out.

    Args:
        min_s: Shortest wait, and the first.
        max_s: Longest wait.
        uniform: `random.uniform`, or a test's own.
    """

    def __init__(
        self, min_s: float, max_s: float, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._uniform = uniform
        self._wait_s = min_s

    def next_s(self) -> float:
        """Return how long to wait now, in seconds."""
        wait_s = self._wait_s
        self._wait_s = min(self._max_s, 2 * wait_s)
        return max(self._min_s, wait_s * self._uniform(0.5, 1.0))

    def reset(self) -> None:
        """Begin with `min_s` again: the last try was a success."""
        self._wait_s = self._min_s
