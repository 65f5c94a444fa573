"""How many objects of each label a camera sees, for those who want a number and not every frame."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_app.messages import Detections

INTERVAL_S = 1.0


class CountWatch:
    """Tells when the counts of a camera have changed, once in an interval at most.

    Within an interval the most that was seen at once counts, so that what flickers does not.

    Args:
        classes: How many the model has.
        interval_s: See above, in seconds.
        clock: Seconds that only grow.

    Attributes:
        classes: As given.
    """

    def __init__(
        self,
        classes: int,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.classes = classes
        self._interval_s = interval_s
        self._clock = clock
        self._most: NDArray[np.int64] = np.zeros(classes, np.int64)
        self._told: NDArray[np.int64] | None = None
        self._due_s = float("-inf")

    def take(self, detections: Detections) -> NDArray[np.int64] | None:
        """Take a frame into account; return the counts by class id if they are to be told now."""
        now = np.bincount(detections.class_id, minlength=self.classes)[: self.classes]
        np.maximum(self._most, now, out=self._most)
        now_s = self._clock()
        if now_s < self._due_s:
            return None
        most, self._most = self._most, np.zeros(self.classes, np.int64)
        self._due_s = now_s + self._interval_s
        if self._told is not None and np.array_equal(most, self._told):
            return None
        self._told = most
        return most
