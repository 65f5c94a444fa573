"""Class-aware greedy non-maximum suppression.

Which boxes overlap is found in one of three ways, chosen by how many boxes and overlaps there are. All give
what plain float32 arithmetic gives, so the result depends on the boxes only. Classes are compared, not
shifted apart: adding a multiple of the class to float32 coordinates rounds them, and other boxes survive.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_app.geometry import has_area

FEW = 32
"""Up to so many boxes a plain loop is faster than any array operation."""

DOUBT = 1e-5
"""Ten times what float32 can be wrong by in an intersection over union."""

CHUNK_PAIRS = 1 << 14
"""Pairs looked at together: their columns stay in the cache, and memory stays bounded."""

MANY_OVERLAPS = 32
"""More overlaps for each box than this mean large piles, of which few boxes survive."""

VECTOR_ROUNDS = 4
"""Overlaps left after so many rounds form chains, which a plain loop follows faster."""

Indices = NDArray[np.int64]
Pairs = tuple[Indices, Indices]


def non_max_suppression(
    xyxy: NDArray[np.float32],
    confidence: NDArray[np.float32],
    class_id: NDArray[np.int32],
    *,
    iou_threshold: float,
    max_detections: int,
) -> Indices:
    """Keep the best box of each pile: greedy, by class, the most confident first.

    A box goes when its intersection over union with a kept box of its class is above `iou_threshold`; exactly
    at the threshold it stays. Boxes without a finite area and NaN confidences are never kept and remove no
    other.

    Args:
        xyxy: (N, 4) float32 boxes, in any pixels.
        confidence: (N,) float32.
        class_id: (N,) int32.
        iou_threshold: 0 to 1, taken as float32; at 1 nothing is suppressed.
        max_detections: Most boxes kept, the best by confidence.

    Returns:
        (K,) int64 indices of the boxes kept, by descending confidence, equal ones in their given order.

    Raises:
        ValueError: If `iou_threshold` is outside of 0 to 1.
    """
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be 0 to 1, found {iou_threshold}")
    threshold = np.float32(iou_threshold)
    order: Indices = np.argsort(-confidence, kind="stable")
    if len(order) and np.isnan(confidence[order[-1]]):  # NaN sorts to the end
        order = order[: np.count_nonzero(confidence == confidence)]
    if len(order) <= FEW:
        kept = _keep_of_few(xyxy, class_id, order, float(threshold))
        if kept is not None:
            return kept[:max_detections]
    usable = has_area(xyxy)
    if not usable.all():
        order = order.compress(usable.take(order))
    if iou_threshold < 1 and len(order):
        with np.errstate(over="ignore", under="ignore"):
            order = order[_survivors(_Boxes.ranked(xyxy, class_id, order), threshold)]
    return order[:max_detections]


def _keep_of_few(
    xyxy: NDArray[np.float32], class_id: NDArray[np.int32], order: Indices, threshold: float
) -> Indices | None:
    """Return what is kept, or None where only float32 itself can tell: an unusable box, a very close call."""
    boxes, classes = xyxy.tolist(), class_id.tolist()
    kept_of_class: dict[int, list[tuple[float, float, float, float, float]]] = {}
    kept = []
    for index in order.tolist():
        x1, y1, x2, y2 = boxes[index]
        area = (x2 - x1) * (y2 - y1)
        if not (x1 < x2 and 1e-30 < area < 1e30):
            return None
        rivals = kept_of_class.setdefault(classes[index], [])
        for left, top, right, bottom, rival_area in rivals:
            if left < x2 and x1 < right and top < y2 and y1 < bottom:
                # The builtins min and max would double the time of this loop.
                width = (right if right < x2 else x2) - (left if left > x1 else x1)  # noqa: FURB136
                height = (bottom if bottom < y2 else y2) - (top if top > y1 else y1)  # noqa: FURB136
                intersection = width * height
                excess = intersection / (area + rival_area - intersection) - threshold
                if excess > DOUBT:
                    break
                if excess > -DOUBT:
                    return None
        else:
            rivals.append((x1, y1, x2, y2, area))
            kept.append(index)
    return np.array(kept, np.int64)


class _Boxes(NamedTuple):
    """Boxes, column by column: gathering from short columns is what numpy does fastest."""

    x1: NDArray[np.float32]
    y1: NDArray[np.float32]
    x2: NDArray[np.float32]
    y2: NDArray[np.float32]
    area: NDArray[np.float32]
    class_id: NDArray[np.int32]

    @classmethod
    def ranked(cls, xyxy: NDArray[np.float32], class_id: NDArray[np.int32], order: Indices) -> _Boxes:
        """Return the boxes in the given order, best first."""
        x1, y1, x2, y2 = np.ascontiguousarray(xyxy.take(order, axis=0).T)
        return cls(x1, y1, x2, y2, (x2 - x1) * (y2 - y1), class_id.take(order))

    def take(self, index: Indices) -> _Boxes:
        """Return the boxes at `index`, in its order."""
        x1, y1, x2, y2, area, class_id = self
        return _Boxes(
            x1.take(index),
            y1.take(index),
            x2.take(index),
            y2.take(index),
            area.take(index),
            class_id.take(index),
        )

    def overlap(self, first: Indices, second: Indices, threshold: np.float32) -> NDArray[np.bool_]:
        """Return which pairs overlap more than the threshold, whatever their class."""
        width = np.minimum(self.x2.take(first), self.x2.take(second))
        width -= np.maximum(self.x1.take(first), self.x1.take(second))
        height = np.minimum(self.y2.take(first), self.y2.take(second))
        height -= np.maximum(self.y1.take(first), self.y1.take(second))
        intersection = np.maximum(width, 0, out=width)
        intersection *= np.maximum(height, 0, out=height)
        union = self.area.take(first) + self.area.take(second)
        union -= intersection
        iou = np.divide(intersection, union, out=union)
        above: NDArray[np.bool_] = iou > threshold
        return above


def _survivors(boxes: _Boxes, threshold: np.float32) -> NDArray[np.bool_] | Indices:
    """Return which boxes, ordered from best to worst, survive: a mask, or their ranks."""
    count = len(boxes.area)
    found: list[Pairs] = []
    overlaps = 0
    for first, second in _overlapping_neighbours(boxes, threshold):
        found.append((np.minimum(first, second), np.maximum(first, second)))
        overlaps += len(first)
        if overlaps > MANY_OVERLAPS * count:
            return _greedy_rows(boxes, threshold)
    better, worse = (np.concatenate(ranks) for ranks in zip(*found, strict=True))
    return _resolve(better, worse, count)


def _overlapping_neighbours(boxes: _Boxes, threshold: np.float32) -> Iterator[Pairs]:
    """Yield the pairs of ranks that overlap, by a sweep over the boxes from left to right, class by class.

    An overlap above t needs an intersection wider than t times the wider box, so a box can overlap only those
    that begin within a short way to its right. That search is in float64 and errs on the side of more pairs:
    1e-4 is far above the rounding of the float32 decision.
    """
    left, right = boxes.x1.astype(np.float64), boxes.x2.astype(np.float64)
    reach = right - (right - left) * (float(threshold) * (1 - 1e-4))
    shift = boxes.class_id * (right.max() - left.min() + 1)
    key = left + shift
    order = key.argsort()
    start = np.arange(1, len(key) + 1)
    end = np.searchsorted(key.take(order), (reach + shift).take(order), side="right")
    count = np.maximum(end - start, 0)
    total = count.cumsum()
    skipped = start - (total - count)
    boxes = boxes.take(order)
    row = 0
    while row < len(key):
        done = total[row] - count[row]
        next_row = max(row + 1, int(np.searchsorted(total, done + CHUNK_PAIRS, side="right")))
        first = np.repeat(np.arange(row, next_row), count[row:next_row])
        second = np.arange(done, total[next_row - 1]) + skipped.take(first)
        overlap = boxes.overlap(first, second, threshold)
        first, second = first.compress(overlap), second.compress(overlap)
        same = boxes.class_id.take(first) == boxes.class_id.take(second)
        yield order.take(first.compress(same)), order.take(second.compress(same))
        row = next_row


def _resolve(better: Indices, worse: Indices, count: int) -> NDArray[np.bool_]:
    """Return which of `count` ranked boxes survive, given all pairs that overlap."""
    alive = np.ones(count, np.bool_)
    for _ in range(VECTOR_ROUNDS):
        if not len(better):
            return alive
        contested = np.zeros(count, np.bool_)
        contested[worse] = True
        alive[worse.compress(~contested.take(better))] = False
        undecided = alive.take(better) & alive.take(worse)
        better, worse = better.compress(undecided), worse.compress(undecided)
    order = np.argsort(better, kind="stable")
    for winner, loser in zip(better.take(order).tolist(), worse.take(order).tolist(), strict=True):
        if alive[winner]:
            alive[loser] = False
    return alive


def _greedy_rows(boxes: _Boxes, threshold: np.float32) -> Indices:
    """Return the survivors' ranks, by comparing each survivor with all that are left; memory stays O(N)."""
    kept: list[int] = []
    left = np.arange(len(boxes.area))
    while len(left):
        best, left = left[:1], left[1:]
        kept.extend(best.tolist())
        gone = boxes.overlap(best, left, threshold)
        gone &= boxes.class_id.take(left) == boxes.class_id.take(best)
        left = left.compress(~gone)
    return np.array(kept, np.int64)
