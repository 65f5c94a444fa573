"""From a model's candidates to the detections of a frame."""

from __future__ import annotations

import time
from collections.abc import Sequence

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
        self._labels = labels
        self.check(section)
        self._spec = spec
        self._section = section
        self._size, self._fitted = (1, 1), Letterbox.fit((1, 1), spec)
        self.invalid = 0
        self.overflow = 0

    @property
    def section(self) -> PostprocessSection:
        """The thresholds and limits in force."""
        return self._section

    def check(self, section: PostprocessSection) -> None:
        """Raise ConfigError if a section names a label that the model does not have."""
        class_thresholds(section, self._labels)

    def retune(self, section: PostprocessSection) -> None:
        """Use other thresholds and limits from the next frame on. Any thread."""
        self._section = section

    def detections(self, info: FrameInfo, candidates: Candidates, timings: Timings) -> Detections:
        """Return what was found in a frame, in image pixels, the most confident first.

        Boxes that have no area inside the image are left out. The time this takes is added to
        `timings.postprocess_ms`.
        """
        started = time.perf_counter()
        self.invalid += candidates.invalid
        self.overflow += candidates.overflow
        xyxy, confidence, class_id = candidates.xyxy, candidates.confidence, candidates.class_id
        if not (candidates.suppressed and candidates.ordered):
            kept = self._kept(candidates)
            xyxy, confidence, class_id = xyxy.take(kept, axis=0), confidence.take(kept), class_id.take(kept)
        xyxy = self._letterbox(info).to_image(xyxy)
        if not _surely_inside(xyxy):
            inside = np.flatnonzero(has_area(xyxy))
            xyxy, confidence, class_id = (
                xyxy.take(inside, axis=0),
                confidence.take(inside),
                class_id.take(inside),
            )
        most = self._section.max_detections
        if len(xyxy) > most:
            xyxy, confidence, class_id = xyxy[:most], confidence[:most], class_id[:most]
        own_ms = (time.perf_counter() - started) * 1e3
        return Detections(
            info,
            xyxy,
            confidence,
            class_id,
            timings=Timings(
                timings.capture_ms,
                timings.preprocess_ms,
                timings.inference_ms,
                timings.postprocess_ms + own_ms,
                timings.waiting_ms,
            ),
        )

    def _letterbox(self, info: FrameInfo) -> Letterbox:
        size = (info.width, info.height)
        if size != self._size:
            self._size, self._fitted = size, Letterbox.fit(size, self._spec)
        return self._fitted

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


SURE_PX = 1e-3
"""Sides of boxes inside an image that are longer than this span an area that float32 holds."""


def _surely_inside(xyxy: NDArray[np.float32]) -> bool:
    """Return whether boxes (N, 4) that were clipped to an image surely have an area.

    They usually do, and two operations tell it instead of `has_area`'s eight.
    """
    return not len(xyxy) or bool((xyxy[:, 2:] - xyxy[:, :2]).min() > SURE_PX)
