"""The letterbox beside the fastest route known and OpenCV's own."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.bench.measure import BenchResult, measure
from edge_app.geometry import InputSpec, Letterbox
from edge_app.messages import Frame, FrameInfo
from edge_app.preprocess.letterbox import CpuPreprocessor

OURS = "edge_app CpuPreprocessor"
FASTEST_KNOWN = "resize, split, cv2.LUT into preallocated planes"
BLOB = "canvas, cv2.dnn.blobFromImage"
RESIZE = "(resize alone)"

Way = Callable[[], object]


def run(
    rounds: int = 300,
    *,
    image_wh: tuple[int, int] = (1920, 1080),
    size: int = 640,
    threads: int | None = None,
) -> BenchResult:
    """Measure a BGR image of `image_wh` pixels into [3, size, size] float32 RGB / 255.

    Args:
        rounds: How often each way is timed.
        image_wh: Size of the image in pixels.
        size: Width and height of the model's input in pixels.
        threads: OpenCV's threads; None leaves them as they are.

    Raises:
        AssertionError: If the ways disagree by more than float32 rounding: then their times mean nothing.
    """
    width, height = image_wh
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    box = Letterbox.fit(image_wh, InputSpec(size, size))
    before = cv2.getNumThreads()
    if threads is not None:
        cv2.setNumThreads(threads)
    try:
        ways = {
            OURS: _ours(image, size),
            FASTEST_KNOWN: _fastest_known(image, box, size),
            BLOB: _blob(image, box, size),
            RESIZE: _resize_alone(image, box),
        }
        expected = np.asarray(ways[FASTEST_KNOWN]())
        for name in (OURS, BLOB):
            found = np.asarray(ways[name]()).reshape(expected.shape)
            np.testing.assert_allclose(found, expected, atol=2e-6, err_msg=name)
        return measure(
            f"letterbox {width}x{height} to {size}, {cv2.getNumThreads()} OpenCV threads",
            ways,
            rounds=rounds,
            references=[FASTEST_KNOWN],
        )
    finally:
        cv2.setNumThreads(before)


def _ours(image: NDArray[np.uint8], size: int) -> Way:
    preprocessor = CpuPreprocessor(InputSpec(size, size))
    height, width = image.shape[:2]
    frame = Frame(FrameInfo("bench", 0, 0, 0, width, height), image)
    out = np.empty((3, size, size), np.float32)

    def way() -> object:
        preprocessor.write(frame, out)
        return out

    return way


def _fastest_known(image: NDArray[np.uint8], box: Letterbox, size: int) -> Way:
    (width, height), (left, top) = box.resized_wh, box.offset_xy
    table = (np.arange(256) / 255).astype(np.float32)
    out = np.full((3, size, size), table[114], np.float32)
    planes = [plane[top : top + height, left : left + width] for plane in out]
    resized = np.empty((height, width, 3), np.uint8)
    channels = [np.empty((height, width), np.uint8) for _ in range(3)]

    def way() -> object:
        cv2.resize(image, (width, height), dst=resized)
        blue, green, red = cv2.split(resized, channels)
        cv2.LUT(red, table, dst=planes[0])
        cv2.LUT(green, table, dst=planes[1])
        cv2.LUT(blue, table, dst=planes[2])
        return out

    return way


def _blob(image: NDArray[np.uint8], box: Letterbox, size: int) -> Way:
    (width, height), (left, top) = box.resized_wh, box.offset_xy
    canvas = np.full((size, size, 3), 114, np.uint8)
    inside = canvas[top : top + height, left : left + width]

    def way() -> object:
        cv2.resize(image, (width, height), dst=inside)
        return cv2.dnn.blobFromImage(canvas, 1 / 255, swapRB=True)

    return way


def _resize_alone(image: NDArray[np.uint8], box: Letterbox) -> Way:
    width, height = box.resized_wh
    resized = np.empty((height, width, 3), np.uint8)
    return lambda: cv2.resize(image, (width, height), dst=resized)
