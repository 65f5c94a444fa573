"""Two ways to run the demo model on rendered scenes: ONNX Runtime, and an engine on a GPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_app.engine.verify import Boxes, Observation
from edge_app.geometry import InputSpec
from edge_app.gpu.context import Gpu
from edge_app.gpu.engine import LoadedEngine
from edge_app.messages import Frame, FrameInfo
from edge_app.postprocess.nms import non_max_suppression
from edge_app.preprocess.letterbox import CpuPreprocessor
from edge_app.scene import StreetScene

SIDE = 416
LEAST_CONFIDENCE = 0.2
BATCHES = (1, 3, 8)
Pixels = NDArray[np.float32]
Run = Callable[[Pixels], NDArray[np.float32]]
"""From images (N, 3, H, W) to the model's output."""


def pictures(seeds: range, count: int) -> Iterator[NDArray[np.uint8]]:
    for seed in seeds:
        scene = StreetScene(seed=seed, width=1280, height=720, fps=30)
        for index in range(count):
            yield scene.render(index * 40)


def letterboxed(picture: NDArray[np.uint8]) -> Pixels:
    height, width = picture.shape[:2]
    out: Pixels = np.zeros((3, SIDE, SIDE), np.float32)
    frame = Frame(FrameInfo("camera", 0, 0, 0, width, height), picture)
    CpuPreprocessor(InputSpec(SIDE, SIDE)).write(frame, out)
    return out


def boxes_of(raw: Pixels) -> Boxes:
    """Return the boxes after suppression of one image's output (4 + classes, cells)."""
    confidence = raw[4:].max(axis=0)
    kept = confidence > LEAST_CONFIDENCE
    center, half = raw[:2, kept].T, raw[2:4, kept].T / 2
    xyxy = np.concatenate([center - half, center + half], axis=1).astype(np.float32)
    class_id = raw[4:].argmax(axis=0)[kept].astype(np.int32)
    best = non_max_suppression(xyxy, confidence[kept], class_id, iou_threshold=0.7, max_detections=300)
    return Boxes(xyxy[best], confidence[kept][best], class_id[best])


def observe(run: Run) -> Callable[[Pixels], Observation]:
    def on_image(image: Pixels) -> Observation:
        raw = run(image[None])
        return Observation({"output0": raw}, boxes_of(raw[0]))

    return on_image


def onnx_runtime(model: Path) -> Run:
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"images": batch})[0]


@contextmanager
def on_gpu(gpu: Gpu, plan: bytes, path: Path) -> Iterator[Run]:
    with gpu.attach():
        engine = LoadedEngine(gpu, plan, path)
        slot = engine.add_slot({name: item.spec.shape for name, item in engine.inputs.items()}, max(BATCHES))

        def run(batch: Pixels) -> NDArray[np.float32]:
            slot.inputs(len(batch))["images"][:] = batch
            slot.enqueue(len(batch))
            outputs, _ = slot.wait(60)
            return np.array(outputs["output0"])

        try:
            yield run
        finally:
            engine.close()
