"""The output of models that leave one box for each object: YOLOv10, YOLO26, exports with NMS inside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_app.errors import ModelError
from edge_app.geometry import InputSpec
from edge_app.interfaces import Tensor, TensorMap
from edge_app.messages import Candidates
from edge_app.postprocess.heads.selection import Selection
from edge_app.postprocess.heads.yolov8 import STRIDES, anchor_count

COLUMNS = 6


class EndToEndHead:
    """Decodes [B, N, 6]: x1, y1, x2, y2 in model input pixels, confidence, class.

    Args:
        output: Name of the output.
        selection: What becomes a candidate.
    """

    name = "end_to_end"
    grid = None  # few rows: copying them costs less than a kernel

    def __init__(self, output: str, selection: Selection) -> None:
        self._output = output
        self._selection = selection

    @staticmethod
    def wants(class_count: int, spec: InputSpec) -> str:  # noqa: ARG004 - the same for every model
        """Say in words which output this head decodes."""
        return "[B, N, 6] (x1, y1, x2, y2, confidence, class)"

    @staticmethod
    def accepts(shape: Sequence[int | None], class_count: int) -> bool:  # noqa: ARG004 - the same for every model
        """Whether this head can decode the shape at all."""
        return len(shape) == 3 and shape[2] in {COLUMNS, None}

    @staticmethod
    def fits(shape: Sequence[int | None], class_count: int, spec: InputSpec) -> bool:
        """Whether the shape can be told to be this head's: six columns, and not a row for each anchor."""
        if len(shape) != 3 or shape[2] != COLUMNS or shape[1] == 4 + class_count:
            return False
        counts = [anchor_count(spec, strides) for strides in STRIDES]
        return shape[1] not in {*counts, *(3 * count for count in counts)}

    def decode(self, outputs: TensorMap, batch: int) -> Sequence[Candidates]:
        """Return one `Candidates` for each of the first `batch` images.

        Args:
            outputs: Float32 or float16, by output name.
            batch: How many images of the batch count.

        Raises:
            ModelError: If the output has another shape than the model promised.
        """
        output = outputs[self._output]
        if output.ndim != 3 or output.shape[2] != COLUMNS:
            raise ModelError(f"{self._output} must be [B, N, {COLUMNS}], found {list(output.shape)}")
        with np.errstate(all="ignore"):
            return [self._decode(image) for image in output[:batch]]

    def _decode(self, image: Tensor) -> Candidates:
        rows = image.compress(~(image[:, 4] <= self._selection.floor), axis=0).astype(np.float32, copy=False)
        classes = np.rint(rows[:, 5])
        known = (classes >= 0) & (classes < self._selection.class_count)
        class_id = np.where(known, classes, -1).astype(np.int32)
        return self._selection.select(rows[:, :4], rows[:, 4], class_id, suppressed=True)
