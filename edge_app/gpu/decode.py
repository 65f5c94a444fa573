"""Decoding and suppression on the GPU: the host's side of `kernels/decode.cu`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from edge_app.gpu.driver import cuda_driver, cuda_errors
from edge_app.gpu.memory import DeviceBuffer, PinnedBuffer, Stream
from edge_app.gpu.resource import Resource
from edge_app.interfaces import GridDecode
from edge_app.messages import Candidates

MOST_CANDIDATES = 4096
"""What is sorted lies in the kernel's shared memory."""

BLOCK = 512
"""Threads of the block that finds the boxes of one image; the kernel's own `BLOCK`."""
SCORE_BLOCK = 256
HEADER = 4
NO_SUPPRESSION = -1.0

DTYPES = (np.dtype(np.float32), np.dtype(np.float16))
OUTPUT_AXES = 3


def result_dtype(most: int) -> np.dtype[Any]:
    """Return what the kernel writes for one image; the header: boxes, overflow, invalid, candidates."""
    return np.dtype(
        [
            ("header", np.int32, (HEADER,)),
            ("xyxy", np.float32, (most, 4)),
            ("confidence", np.float32, (most,)),
            ("class_id", np.int32, (most,)),
        ]
    )


def can_decode(
    request: GridDecode, shape: Sequence[int | None], dtype: np.dtype[Any]
) -> TypeGuard[GridDecode]:
    """Return whether the kernel can decode an output of this shape and type."""
    return (
        len(shape) == OUTPUT_AXES
        and shape[1] == 4 + len(request.thresholds)
        and shape[2] is not None
        and dtype in DTYPES
        and request.max_candidates <= MOST_CANDIDATES
    )


class GridDecoder(Resource):
    """Finds the boxes of the batches of one slot. The thread is attached to the GPU.

    Args:
        module: The loaded kernels of `decode.cu`.
        request: What to find.
        anchors: Length of the output's last axis.
        dtype: The output's type, float32 or float16.
        max_batch: Most images of a batch.
        iou_threshold: Boxes of one class that overlap more are one object; None: all candidates come back.
    """

    kind = "grid decoder"

    def __init__(
        self,
        module: Any,
        request: GridDecode,
        anchors: int,
        dtype: np.dtype[Any],
        max_batch: int,
        iou_threshold: float | None,
    ) -> None:
        self._classes, self._anchors, self._most = len(request.thresholds), anchors, request.max_candidates
        self._suppressed = iou_threshold is not None
        self._iou_threshold = np.float32(NO_SUPPRESSION if iou_threshold is None else iou_threshold)
        self._score = module.get_function(f"score_{dtype.name}")
        self._score.prepare("PPPPPii")
        self._find = module.get_function(f"find_{dtype.name}")
        self._find.prepare("PPPPPPPiiif")
        result = result_dtype(self._most)
        sizes = {
            "thresholds": 4 * self._classes,
            "keys": 4 * max_batch * anchors,
            "classes": 4 * max_batch * anchors,
            "invalid": 4 * max_batch,
            "boxes": 16 * max_batch * self._most,
            "labels": 4 * max_batch * self._most,
        }
        self._device = {name: DeviceBuffer(size) for name, size in sizes.items()}
        self._host = PinnedBuffer(max_batch * result.itemsize)
        rows = self._host.view((max_batch,), result)
        self._results = [
            (rows["header"][i], rows["xyxy"][i], rows["confidence"][i], rows["class_id"][i])
            for i in range(max_batch)
        ]
        self._result_address = int(rows.__array_interface__["data"][0])
        with cuda_errors("the decoder cannot be prepared"):
            driver = cuda_driver()
            driver.memcpy_htod(self._device["thresholds"].address, np.ascontiguousarray(request.thresholds))
            # The kernel leaves it at zero again.
            driver.memset_d32(self._device["invalid"].address, 0, max_batch)
        super().__init__()

    def enqueue(self, stream: Stream, output_address: int, batch: int) -> None:
        """Enqueue the decoding of a batch's output; nothing else, so a graph can hold it."""
        device = {name: buffer.address for name, buffer in self._device.items()}
        with cuda_errors("the decoding kernels cannot be launched"):
            self._score.prepared_async_call(
                (-(-self._anchors // SCORE_BLOCK), batch),
                (SCORE_BLOCK, 1, 1),
                stream.native,
                *(output_address, device["thresholds"], device["keys"], device["classes"], device["invalid"]),
                *(self._classes, self._anchors),
            )
            self._find.prepared_async_call(
                (batch, 1),
                (BLOCK, 1, 1),
                stream.native,
                *(output_address, device["keys"], device["classes"], device["invalid"]),
                *(device["boxes"], device["labels"], self._result_address),
                *(self._classes, self._anchors, self._most, self._iou_threshold),
            )

    def candidates(self, batch: int) -> list[Candidates]:
        """Return the boxes of the first `batch` images once they are done; nothing aliases device memory.

        With suppression the most confident come first, otherwise they are in anchor order.
        """
        found = []
        for header, xyxy, confidence, class_id in self._results[:batch]:
            count, overflow, invalid, _ = header.tolist()
            found.append(
                Candidates(
                    xyxy[:count].copy(),
                    confidence[:count].copy(),
                    class_id[:count].copy(),
                    overflow=overflow,
                    invalid=invalid,
                    suppressed=self._suppressed,
                    ordered=self._suppressed,
                )
            )
        return found

    def _free(self) -> None:
        self._results.clear()
        for buffer in (*self._device.values(), self._host):
            buffer.close()
