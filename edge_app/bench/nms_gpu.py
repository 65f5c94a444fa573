"""Decoding of a [1, 84, 8400] output on the GPU, suppressed there too, or by the CPU from what came back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_app.bench.measure import BenchResult, measure
from edge_app.bench.nms import (
    ANCHORS,
    CLASSES,
    CONFIDENCE_THRESHOLD,
    IOU_THRESHOLD,
    Scene,
    ours,
    random_output,
)
from edge_app.errors import BackendError
from edge_app.gpu.context import open_gpu
from edge_app.gpu.decode import MOST_CANDIDATES, GridDecoder
from edge_app.gpu.driver import cuda_driver
from edge_app.gpu.kernels import load_kernels
from edge_app.gpu.memory import DeviceBuffer, Stream
from edge_app.interfaces import GridDecode
from edge_app.messages import Candidates

ON_GPU = "suppressed on the GPU"
ON_CPU = "candidates to the CPU, suppressed there"
DECODE = "(candidates to the CPU alone)"


def run(rounds: int = 200, *, boxes: int = 300, scene: Scene = Scene.PILED) -> BenchResult:
    """Measure from an output in device memory to boxes in host memory, of an output with `boxes` candidates.

    Raises:
        BackendError: There is no GPU that works, or the two ways keep different boxes.
    """
    gpu = open_gpu()
    output = random_output(boxes, scene)
    thresholds = np.full(CLASSES, CONFIDENCE_THRESHOLD, np.float32)
    request = GridDecode("output0", thresholds, MOST_CANDIDATES)
    with gpu.attach():
        module, stream = load_kernels(gpu, "decode"), Stream()
        device = DeviceBuffer(output.nbytes)
        cuda_driver().memcpy_htod(device.address, output)
        gather, suppress = (
            GridDecoder(module, request, ANCHORS, output.dtype, 1, threshold)
            for threshold in (None, IOU_THRESHOLD)
        )

        def way(decoder: GridDecoder) -> Callable[[], Candidates]:
            def call() -> Candidates:
                decoder.enqueue(stream, device.address, 1)
                stream.synchronize()
                return decoder.candidates(1)[0]

            return call

        def on_cpu() -> Candidates:
            found = gathered()
            kept = ours(found)
            return Candidates(found.xyxy[kept], found.confidence[kept], found.class_id[kept])

        gathered, on_gpu = way(gather), way(suppress)
        try:
            _require_equal(on_gpu(), on_cpu())
            return measure(
                f"[1, {4 + CLASSES}, {ANCHORS}] on the GPU, {boxes} boxes {scene.value}",
                {ON_GPU: on_gpu, ON_CPU: on_cpu, DECODE: gathered},
                rounds=rounds,
                references=[ON_CPU],
            )
        finally:
            for part in (gather, suppress, device, stream):
                part.close()


def _require_equal(one: Candidates, other: Candidates) -> None:
    """Raise BackendError unless both hold the same boxes in the same order."""
    pairs = ((one.xyxy, other.xyxy), (one.confidence, other.confidence), (one.class_id, other.class_id))
    if not all(np.array_equal(a, b) for a, b in pairs):
        raise BackendError(f"the GPU keeps {len(one.xyxy)} boxes, the CPU {len(other.xyxy)} or others")
