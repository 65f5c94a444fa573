"""The output of YOLOv8 and its kin (YOLO11, YOLO12, v5u, v9): a grid of boxes, no suppression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_app.errors import ModelError
from edge_app.geometry import InputSpec
from edge_app.interfaces import GridDecode, Tensor, TensorMap
from edge_app.messages import Candidates
from edge_app.postprocess.heads.selection import Selection

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
"""Pixels from anchor to anchor on each grid: the usual three, and models with one grid more."""


class YoloV8Head:
    """Decodes [B, 4 + classes, anchors]: cx, cy, w, h in model input pixels, then a confidence per class.

    A box's class is its most confident one, the first of equals.

    Args:
        output: Name of the output.
        selection: What becomes a candidate.
    """

    name = "yolov8"

    def __init__(self, output: str, selection: Selection) -> None:
        self._output = output
        self._selection = selection

    @property
    def grid(self) -> GridDecode:
        """What a device needs to know to decode in the head's place."""
        return GridDecode(self._output, self._selection.thresholds, self._selection.max_candidates)

    @staticmethod
    def wants(class_count: int, spec: InputSpec) -> str:
        """Say in words which output this head decodes."""
        anchors = anchor_count(spec, STRIDES[0])
        return f"[B, {4 + class_count}, {anchors}] (4 + {class_count} classes, {anchors} anchors)"

    @staticmethod
    def accepts(shape: Sequence[int | None], class_count: int) -> bool:
        """Whether this head can decode the shape at all."""
        return len(shape) == 3 and shape[1] in {4 + class_count, None}

    @staticmethod
    def fits(shape: Sequence[int | None], class_count: int, spec: InputSpec) -> bool:
        """Whether the shape can be told to be this head's: the last axis counts the input's anchors."""
        anchors = {anchor_count(spec, strides) for strides in STRIDES}
        return len(shape) == 3 and shape[1] == 4 + class_count and shape[2] in {*anchors, None}

    def decode(self, outputs: TensorMap, batch: int) -> Sequence[Candidates]:
        """Return one `Candidates` for each of the first `batch` images.

        Args:
            outputs: Float32 or float16, by output name.
            batch: How many images of the batch count.

        Raises:
            ModelError: If the output has another shape than the model promised.
        """
        output = outputs[self._output]
        if not self.accepts(output.shape, self._selection.class_count):
            wanted = 4 + self._selection.class_count
            raise ModelError(f"{self._output} must be [B, {wanted}, anchors], found {list(output.shape)}")
        with np.errstate(all="ignore"):
            return [self._decode(image) for image in output[:batch]]

    def _decode(self, image: Tensor) -> Candidates:
        scores = image[4:]
        anchors = np.flatnonzero(~(_greatest(scores) <= self._selection.floor))
        scores = scores.take(anchors, axis=1).astype(np.float32, copy=False)
        class_id = scores.argmax(axis=0)
        confidence = scores[class_id, np.arange(len(anchors))]
        center_x, center_y, width, height = image[:4].take(anchors, axis=1).astype(np.float32, copy=False)
        width *= np.float32(0.5)
        height *= np.float32(0.5)
        xyxy = np.empty((len(anchors), 4), np.float32)
        np.subtract(center_x, width, out=xyxy[:, 0])
        np.subtract(center_y, height, out=xyxy[:, 1])
        np.add(center_x, width, out=xyxy[:, 2])
        np.add(center_y, height, out=xyxy[:, 3])
        return self._selection.select(xyxy, confidence, class_id.astype(np.int32))


def anchor_count(spec: InputSpec, strides: Sequence[int]) -> int:
    """Return how many anchors a detector with these strides has for its input."""
    return sum(-(-spec.width // stride) * -(-spec.height // stride) for stride in strides)


def _greatest(scores: Tensor) -> Tensor:
    """Return for each anchor (the last axis) its greatest confidence, or NaN if one is NaN.

    Confidences of float16 are compared as integers, forty times faster than numpy compares them as numbers:
    without its sign bit a float's bits are ordered as its magnitude, and NaN comes last. A negative number
    then counts as its opposite, which is rejected later.
    """
    if scores.dtype != np.float16:
        greatest: Tensor = scores.max(axis=0)
    else:
        magnitudes = scores.view(np.uint16) & np.uint16(0x7FFF)
        greatest = magnitudes.max(axis=0).view(np.float16).astype(np.float32)
    return greatest
