"""Which decoded boxes become candidates: the same rules for every head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_app.geometry import has_area
from edge_app.messages import Candidates


class Selection:
    """Keeps usable boxes above their class's threshold, and the best of them if there are too many.

    Args:
        thresholds: (classes,) float32; a box must be more confident than its class's threshold. Infinity
            leaves a class out.
        max_candidates: Most candidates of an image.
    """

    def __init__(self, thresholds: NDArray[np.float32], max_candidates: int) -> None:
        self.thresholds = thresholds
        self.max_candidates = max_candidates
        self.floor = np.float32(thresholds.min(initial=np.inf))
        """No class's threshold is lower: what is not above it (or NaN) need not be decoded."""

    @property
    def class_count(self) -> int:
        """How many classes the model has."""
        return len(self.thresholds)

    def select(
        self,
        xyxy: NDArray[np.float32],
        confidence: NDArray[np.float32],
        class_id: NDArray[np.int32],
        *,
        suppressed: bool = False,
    ) -> Candidates:
        """Return the candidates among decoded boxes; what is not finite or has no area is counted as invalid.

        Args:
            xyxy: (N, 4) float32 in model input pixels, in anchor order.
            confidence: (N,) float32; NaN is allowed, and invalid.
            class_id: (N,) int32; outside of the model's classes is invalid.
            suppressed: See `Candidates.suppressed`.
        """
        known = (class_id >= 0) & (class_id < self.class_count)
        thresholds = np.where(known, self.thresholds.take(class_id, mode="clip"), self.floor)
        wanted = ~(confidence <= thresholds)
        usable = has_area(xyxy) & np.isfinite(confidence) & known
        invalid = int(np.count_nonzero(wanted & ~usable))
        chosen = np.flatnonzero(wanted & usable)
        overflow = max(0, len(chosen) - self.max_candidates)
        if overflow:
            best = np.argsort(-confidence.take(chosen), kind="stable")[: self.max_candidates]
            chosen = np.sort(chosen.take(best))
        return Candidates(
            xyxy.take(chosen, axis=0),
            confidence.take(chosen),
            class_id.take(chosen),
            overflow=overflow,
            invalid=invalid,
            suppressed=suppressed,
        )
