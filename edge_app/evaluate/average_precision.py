"""Average precision by the definition of COCO (https://cocodataset.org/#detection-eval).

For each class and each of ten IoU thresholds, detections are taken by descending confidence and each is given
the best truth that is still free. The precision that this leaves is made monotone, read at 101 recalls and
averaged; the mean over all classes that have truths is the figure that people quote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100
"""Detections of one class in one image that count; the best by confidence."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_FALSE, _TRUE, _IGNORED = 0, 1, 2  # what a detection turned out to be


@dataclass(frozen=True, slots=True)
class ClassResult:
    """How well one class was found.

    Attributes:
        label: Name of the class.
        truths: Objects that were to be found; ignored ones are not among them.
        detections: Detections that were looked at.
        ap50: Average precision at an IoU of 0.5; None where there was nothing to be found.
        ap50_95: Mean of the average precision at an IoU of 0.50, 0.55, ... 0.95; None likewise.
        recall50: Share of the truths that was found at an IoU of 0.5; None likewise.
    """

    label: str
    truths: int
    detections: int
    ap50: float | None
    ap50_95: float | None
    recall50: float | None


@dataclass(frozen=True, slots=True)
class ApResult:
    """Average precision over all images that were added.

    Attributes:
        map50: Mean of the classes' `ap50`; None where no class had anything to be found.
        map50_95: Mean of the classes' `ap50_95`; None likewise.
        recall50: Mean of the classes' `recall50`; None likewise.
        images: Images that were added.
        truths: Objects that were to be found, in all classes.
        ignored_truths: Objects neither demanded nor punished, in all classes.
        detections: Detections that were looked at, in all classes.
        classes: One for each label, in the order of the labels.
    """

    map50: float | None
    map50_95: float | None
    recall50: float | None
    images: int
    truths: int
    ignored_truths: int
    detections: int
    classes: tuple[ClassResult, ...]


class AveragePrecision:
    """Collects images one after the other; `result` may be asked for at any time.

    Args:
        labels: Names of the classes; a class id is an index into them.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._truths = np.zeros(len(labels), np.int64)
        self._images = 0
        self._ignored_truths = 0
        self._class_ids: list[NDArray[np.int64]] = []
        self._confidences: list[Floats] = []
        self._outcomes: list[NDArray[np.int8]] = []

    def add(
        self,
        truth_xyxy: ArrayLike,
        truth_class: ArrayLike,
        truth_ignore: ArrayLike,
        xyxy: ArrayLike,
        confidence: ArrayLike,
        class_id: ArrayLike,
        *,
        truth_crowd: ArrayLike | None = None,
    ) -> None:
        """Add one image.

        Args:
            truth_xyxy: (N, 4) boxes in pixels.
            truth_class: (N,) class ids.
            truth_ignore: (N,) bool: this object need not be found, and finding it once is no mistake.
            xyxy: (M, 4) detected boxes in the same pixels, in any order.
            confidence: (M,) confidences; equal ones keep their order.
            class_id: (M,) class ids.
            truth_crowd: (N,) bool: a region of many objects, which is ignored however often it is found,
                and overlaps a detection by the share of the detection that lies in it. None: no crowds.

        Raises:
            ValueError: If columns disagree in length, hold a class id without a label, or are not finite.
        """
        boxes, classes, ignore = _columns(truth_xyxy, truth_class, truth_ignore, names="truth")
        found, found_classes, scores = _columns(xyxy, class_id, confidence, names="detection")
        crowd = np.zeros(len(boxes)) if truth_crowd is None else np.asarray(truth_crowd, np.float64)
        if crowd.shape != (len(boxes),):
            raise ValueError(f"truth_crowd must be ({len(boxes)},), found {crowd.shape}")
        for ids in (classes, found_classes):
            if len(ids) and not 0 <= ids.min() <= ids.max() < len(self._labels):
                raise ValueError(
                    f"class ids must be 0 to {len(self._labels) - 1}, found {np.unique(ids).tolist()}"
                )

        # Objects that must be found come first: among them a match is sought before any other.
        is_crowd = crowd.astype(bool)
        is_ignored = ignore.astype(bool) | is_crowd
        truth_order = np.argsort(is_ignored, kind="stable")
        order = _best_of_each_class(found_classes, scores)
        found, found_classes, scores = found[order], found_classes[order], scores[order]

        iou = _iou(found, boxes[truth_order], is_crowd[truth_order])
        iou[found_classes[:, None] != classes[truth_order][None, :]] = 0.0
        required = len(boxes) - int(is_ignored.sum())
        outcome = _match(iou, required, is_crowd[truth_order])

        self._images += 1
        self._ignored_truths += len(boxes) - required
        self._truths += np.bincount(classes[~is_ignored], minlength=len(self._labels))
        self._class_ids.append(found_classes)
        self._confidences.append(scores)
        self._outcomes.append(outcome)

    def result(self) -> ApResult:
        """Return the figures for all images added so far."""
        class_ids = np.concatenate([np.zeros(0, np.int64), *self._class_ids])
        confidences = np.concatenate([np.zeros(0), *self._confidences])
        outcomes = np.concatenate([np.zeros((len(IOU_THRESHOLDS), 0), np.int8), *self._outcomes], axis=1)
        order = np.argsort(-confidences, kind="stable")
        class_ids, outcomes = class_ids[order], outcomes[:, order]

        classes = tuple(
            _class_result(label, int(self._truths[index]), outcomes[:, class_ids == index])
            for index, label in enumerate(self._labels)
        )
        return ApResult(
            map50=_mean([one.ap50 for one in classes]),
            map50_95=_mean([one.ap50_95 for one in classes]),
            recall50=_mean([one.recall50 for one in classes]),
            images=self._images,
            truths=int(self._truths.sum()),
            ignored_truths=self._ignored_truths,
            detections=len(class_ids),
            classes=classes,
        )


def _columns(
    xyxy: ArrayLike, class_id: ArrayLike, value: ArrayLike, *, names: str
) -> tuple[Floats, NDArray[np.int64], Floats]:
    # Boxes are compared in float64: in float32 an IoU near a threshold would fall on its other side.
    boxes = np.asarray(xyxy, np.float64).reshape(-1, 4)
    classes = np.asarray(class_id, np.int64)
    values = np.asarray(value, np.float64)
    if not classes.shape == values.shape == (len(boxes),):
        raise ValueError(f"{names} columns disagree: {boxes.shape}, {classes.shape}, {values.shape}")
    if not (np.isfinite(boxes).all() and np.isfinite(values).all()):
        raise ValueError(f"{names} columns hold a number that is not finite")
    return boxes, classes, values


def _best_of_each_class(class_id: NDArray[np.int64], confidence: Floats) -> NDArray[np.intp]:
    """Indices by descending confidence, at most MAX_DETECTIONS of each class."""
    order = np.argsort(-confidence, kind="stable")
    if len(order) <= MAX_DETECTIONS:
        return order
    kept = np.zeros(len(order), bool)
    for index in np.unique(class_id):
        kept[np.flatnonzero(class_id[order] == index)[:MAX_DETECTIONS]] = True
    return order[kept]


def _iou(found: Floats, truths: Floats, crowd: Flags) -> Floats:
    """(M, N) overlaps; with a crowd it is the share of the detection that the crowd covers."""
    top_left = np.maximum(found[:, None, :2], truths[None, :, :2])
    sides = np.maximum(np.minimum(found[:, None, 2:], truths[None, :, 2:]) - top_left, 0.0)
    intersection = sides[..., 0] * sides[..., 1]
    area = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
    truth_area = (truths[:, 2] - truths[:, 0]) * (truths[:, 3] - truths[:, 1])
    whole = np.where(crowd, area[:, None], area[:, None] + truth_area - intersection)
    iou: Floats = np.divide(intersection, whole, out=np.zeros_like(intersection), where=whole > 0)
    return iou


def _match(iou: Floats, required: int, crowd: Flags) -> NDArray[np.int8]:
    """What each detection turned out to be at each IoU threshold, by greedy matching.

    Args:
        iou: (M, N) overlaps of detections, by descending confidence, with truths.
        required: The first so many truths are to be found; the others are ignored.
        crowd: (N,) truths that can be found more than once.

    Returns:
        (10, M) int8.
    """
    detections, truths = iou.shape
    outcome = np.full((len(IOU_THRESHOLDS), detections), _FALSE, np.int8)
    if not truths:
        return outcome
    thresholds = IOU_THRESHOLDS[:, None]
    free = np.ones((len(IOU_THRESHOLDS), truths), bool)
    rows = np.arange(len(IOU_THRESHOLDS))
    # A truth that is to be found beats every ignored one, however well that overlaps.
    rank = np.where(np.arange(truths) < required, 0.0, -2.0)
    for index in np.flatnonzero(iou.max(axis=1) >= IOU_THRESHOLDS[0]):
        worth = np.where(free & (iou[index] >= thresholds), iou[index] + rank, -np.inf)
        # Of equal overlaps COCO's own evaluation takes the last.
        best = truths - 1 - worth[:, ::-1].argmax(axis=1)
        matched = worth[rows, best] > -np.inf
        outcome[matched, index] = np.where(best[matched] < required, _TRUE, _IGNORED)
        taken = matched & ~crowd[best]
        free[rows[taken], best[taken]] = False
    return outcome


def _class_result(label: str, truths: int, outcomes: NDArray[np.int8]) -> ClassResult:
    """The figures of one class; `outcomes` is (10, M) by descending confidence over all images."""
    detections = outcomes.shape[1]
    if not truths:
        return ClassResult(label, 0, detections, None, None, None)
    true = np.cumsum(outcomes == _TRUE, axis=1)
    false = np.cumsum(outcomes == _FALSE, axis=1)
    precision = np.divide(true, true + false, out=np.zeros(true.shape), where=true + false > 0)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # Beyond the last recall that was reached, precision is zero.
    precision = np.pad(precision, ((0, 0), (0, 1)))
    ap = [
        float(row[np.searchsorted(found / truths, RECALLS)].mean())
        for row, found in zip(precision, true, strict=True)
    ]
    recall50 = float(true[0, -1]) / truths if detections else 0.0
    return ClassResult(label, truths, detections, ap[0], float(np.mean(ap)), recall50)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
