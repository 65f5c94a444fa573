"""Decoding and suppression on the GPU: the host's side of `kernels/decode.cu`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

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
        self._score = module.get_function(f"score_{dtype.name}")
        self._score.prepare("PPPPPii")
        self._find = module.get_function(f"find_{dtype.name}")
        self._find.prepare("PPPPPPPiiiP")
        result = result_dtype(self._most)
        sizes = {
            # Behind those of the classes lies that of the suppression: a graph reads both where they are.
            "thresholds": 4 * (self._classes + 1),
            "keys": 4 * max_batch * anchors,
            "classes": 4 * max_batch * anchors,
            "invalid": 4 * max_batch,
            "boxes": 16 * max_batch * self._most,
            "labels": 4 * max_batch * self._most,
        }
        self._device = {name: DeviceBuffer(size) for name, size in sizes.items()}
        self._host = PinnedBuffer(max_batch * result.itemsize)
        self._host_tuning = PinnedBuffer(4 * (self._classes + 1))
        rows = self._host.view((max_batch,), result)
        self._results = [
            (rows["header"][i], rows["xyxy"][i], rows["confidence"][i], rows["class_id"][i])
            for i in range(max_batch)
        ]
        self._result_address = int(rows.__array_interface__["data"][0])
        with cuda_errors("the decoder cannot be prepared"):
            driver = cuda_driver()
            driver.memcpy_htod(
                self._device["thresholds"].address, self._tuning(request.thresholds, iou_threshold)
            )
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
                *(self._classes, self._anchors, self._most, device["thresholds"] + 4 * self._classes),
            )

    def retune(self, stream: Stream, request: GridDecode, iou_threshold: float | None) -> None:
        """Use other thresholds for what is enqueued on the stream from now on, by graphs too.

        Args:
            stream: The slot's; nothing that was enqueued runs any more.
            request: What to find; with the same classes and `max_candidates`.
            iou_threshold: As before, None only if it was.

        Raises:
            ValueError: Something else would change.
            BackendError: CUDA fails.
        """
        before, after = (self._classes, self._most), (len(request.thresholds), request.max_candidates)
        if before != after or self._suppressed != (iou_threshold is not None):
            raise ValueError(f"a decoder of {before} classes and candidates cannot become one of {after}")
        tuning = self._host_tuning.view((self._classes + 1,), np.dtype(np.float32))
        tuning[:] = self._tuning(request.thresholds, iou_threshold)
        with cuda_errors("the decoder's thresholds cannot be changed"):
            cuda_driver().memcpy_htod_async(self._device["thresholds"].address, tuning, stream.native)

    @staticmethod
    def _tuning(thresholds: NDArray[np.float32], iou_threshold: float | None) -> NDArray[np.float32]:
        iou = NO_SUPPRESSION if iou_threshold is None else iou_threshold
        return np.append(thresholds, np.float32(iou)).astype(np.float32)

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
        for buffer in (*self._device.values(), self._host, self._host_tuning):
            buffer.close()
