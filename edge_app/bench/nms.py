"""Decoding and suppression of one [1, 84, 8400] output, beside the other ways to suppress."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.bench.measure import BenchResult, measure
from edge_app.geometry import iou_matrix
from edge_app.messages import Candidates
from edge_app.postprocess.heads.selection import Selection
from edge_app.postprocess.heads.yolov8 import YoloV8Head
from edge_app.postprocess.nms import non_max_suppression

OURS = "edge_app non_max_suppression"
FULL_MATRIX = "numpy, matrix of all pairs"
CLASS_MATRIX = "numpy, matrix for each class"
OPENCV = "cv2.dnn.NMSBoxesBatched"
SUPERVISION = "supervision with_nms"
DECODE = "(decode alone)"

CONFIDENCE_THRESHOLD = 0.25
IOU_THRESHOLD = 0.7
CLASSES, ANCHORS = 80, 8400

Kept = NDArray[np.int64]
Suppress = Callable[[Candidates], Kept]


class Scene(str, Enum):
    """How the boxes lie."""

    SCATTERED = "scattered"
    """Anywhere, of any class: hardly any overlaps."""
    PILED = "piled"
    """Ten to an object, as a detector's anchors find it."""


def run(rounds: int = 100, *, boxes: int = 300, scene: Scene = Scene.SCATTERED) -> BenchResult:
    """Measure decoding and suppression of an output with `boxes` boxes above the threshold.

    Every way decodes as edge_app does; their suppressions differ. The reference is the fastest of the others.
    The matrix of all pairs is left out above 1000 boxes, where it takes a hundred times as long.
    """
    output = {"output0": random_output(boxes, scene)}
    selection = Selection(np.full(CLASSES, CONFIDENCE_THRESHOLD, np.float32), max_candidates=ANCHORS)
    head = YoloV8Head("output0", selection)
    suppressions: dict[str, Suppress] = {OURS: ours, OPENCV: opencv, CLASS_MATRIX: class_matrix}
    if boxes <= 1000:
        suppressions[FULL_MATRIX] = full_matrix
    if find_spec("supervision") is not None:
        suppressions[SUPERVISION] = supervision

    def way(suppress: Suppress) -> Callable[[], object]:
        return lambda: suppress(head.decode(output, 1)[0])

    ways = {name: way(suppress) for name, suppress in suppressions.items()}
    ways[DECODE] = lambda: head.decode(output, 1)
    return measure(
        f"decode and suppress [1, {4 + CLASSES}, {ANCHORS}], {boxes} boxes {scene.value}",
        ways,
        rounds=rounds,
        references=[name for name in suppressions if name != OURS],
    )


def random_output(boxes: int, scene: Scene, seed: int = 0) -> NDArray[np.float32]:
    """Return a [1, 84, 8400] float32 output of which `boxes` anchors are above the threshold."""
    random = np.random.default_rng(seed)
    output = np.empty((4 + CLASSES, ANCHORS), np.float32)
    output[:2] = random.uniform(0, 640, (2, ANCHORS))
    output[2:4] = random.uniform(10, 150, (2, ANCHORS))
    output[4:] = random.uniform(0, CONFIDENCE_THRESHOLD * 0.8, (CLASSES, ANCHORS))
    found = np.sort(random.choice(ANCHORS, boxes, replace=False))
    class_id = random.integers(0, CLASSES, boxes)
    if scene is Scene.PILED and boxes:
        objects = random.integers(0, max(1, boxes // 10), boxes)
        output[:4, found] = output[:4, found[objects]] + random.normal(0, 2, (4, boxes))
        class_id = class_id[objects]
    output[4 + class_id, found] = random.uniform(CONFIDENCE_THRESHOLD + 0.01, 1, boxes)
    return output[None]


def ours(found: Candidates) -> Kept:
    """Suppress as the application does."""
    return non_max_suppression(
        found.xyxy,
        found.confidence,
        found.class_id,
        iou_threshold=IOU_THRESHOLD,
        max_detections=len(found.xyxy),
    )


def opencv(found: Candidates) -> Kept:
    """Suppress with OpenCV, which wants x, y, width, height."""
    xywh = found.xyxy.copy()
    xywh[:, 2:] -= xywh[:, :2]
    kept = cv2.dnn.NMSBoxesBatched(
        cast("Any", xywh), cast("Any", found.confidence), cast("Any", found.class_id), 0.0, IOU_THRESHOLD
    )
    return np.asarray(kept, np.int64).ravel()


def full_matrix(found: Candidates) -> Kept:
    """Suppress by the matrix of all pairs of boxes."""
    order = np.argsort(-found.confidence, kind="stable")
    xyxy, class_id = found.xyxy[order], found.class_id[order]
    overlap = iou_matrix(xyxy, xyxy) > np.float32(IOU_THRESHOLD)
    overlap &= class_id[:, None] == class_id[None]
    overlap = np.triu(overlap, 1)
    alive = np.ones(len(order), np.bool_)
    for index in np.flatnonzero(overlap.any(axis=1)):
        if alive[index]:
            alive[overlap[index]] = False
    return order[alive]


def class_matrix(found: Candidates) -> Kept:
    """Suppress by a matrix of pairs for each class."""
    kept = [np.empty(0, np.int64)]
    for class_id in np.unique(found.class_id):
        members = np.flatnonzero(found.class_id == class_id)
        part = Candidates(found.xyxy[members], found.confidence[members], found.class_id[members])
        kept.append(members[full_matrix(part)])
    together = np.concatenate(kept)
    return together[np.lexsort((together, -found.confidence[together]))]


def supervision(found: Candidates) -> Kept:
    """Suppress with supervision, where it is installed; returns how many rows remain, by position."""
    library = import_module("supervision")
    detections = library.Detections(
        xyxy=found.xyxy, confidence=found.confidence, class_id=found.class_id.astype(int)
    )
    return np.arange(len(detections.with_nms(threshold=IOU_THRESHOLD)))
