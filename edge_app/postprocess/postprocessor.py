"""From a model's candidates to the detections of a frame."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_app.config.models import PostprocessSection
from edge_app.geometry import InputSpec, Letterbox, has_area
from edge_app.messages import Candidates, Detections, FrameInfo, Timings
from edge_app.postprocess.nms import non_max_suppression
from edge_app.postprocess.thresholds import class_thresholds


class Postprocessor:
    """Suppresses, maps to image pixels, and keeps the best. Used by one thread.

    Args:
        spec: The model's input, from whose pixels the boxes come.
        section: Thresholds and limits.
        labels: Names of the model's classes.

    Attributes:
        invalid: Candidates left out so far because a number was not finite or the box had no area.
        overflow: Candidates left out so far because there were more than `max_candidates`.

    Raises:
        ConfigError: If the section names a label that the model does not have.
    """

    def __init__(self, spec: InputSpec, section: PostprocessSection, labels: Sequence[str]) -> None:
        class_thresholds(section, labels)
        self._spec = spec
        self._section = section
        self.invalid = 0
        self.overflow = 0

    def detections(self, info: FrameInfo, candidates: Candidates, timings: Timings) -> Detections:
        """Return what was found in a frame, in image pixels, the most confident first.

        Boxes that have no area inside the image are left out. The time this takes is added to
        `timings.postprocess_ms`.
        """
        started = time.perf_counter()
        self.invalid += candidates.invalid
        self.overflow += candidates.overflow
        kept = self._kept(candidates)
        letterbox = Letterbox.fit((info.width, info.height), self._spec)
        xyxy = letterbox.to_image(candidates.xyxy.take(kept, axis=0))
        inside = np.flatnonzero(has_area(xyxy))[: self._section.max_detections]
        kept = kept.take(inside)
        postprocess_ms = timings.postprocess_ms + (time.perf_counter() - started) * 1e3
        return Detections(
            info,
            xyxy.take(inside, axis=0),
            candidates.confidence.take(kept),
            candidates.class_id.take(kept),
            timings=replace(timings, postprocess_ms=postprocess_ms),
        )

    def _kept(self, candidates: Candidates) -> NDArray[np.int64]:
        """Return the indices of the candidates that stay, the most confident first."""
        if candidates.suppressed:
            return np.argsort(-candidates.confidence, kind="stable")
        return non_max_suppression(
            candidates.xyxy,
            candidates.confidence,
            candidates.class_id,
            iou_threshold=self._section.iou_threshold,
            max_detections=len(candidates.xyxy),
        )
