"""Rendered training images: processes draw scenes into shared memory while training runs."""

from __future__ import annotations

import mmap
import multiprocessing
import os
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.scene import StreetScene, Truth

# Training never sees a seed below this; demo cameras and evaluation use small seeds.
FIRST_TRAINING_SEED = 1_000_000
PAD_VALUE = 114
MOST_OBJECTS = 48
FRAMES_A_SCENE = 12
SIZES = (
    *((1280, 720),) * 7, *((640, 360),) * 2, *((960, 540),) * 2, (1920, 1080), (1024, 768),
    *((640, 480),) * 2, (720, 1280), (800, 800),
)  # fmt: skip


def letterbox(
    image: NDArray[np.uint8], size: int, interpolation: int = cv2.INTER_LINEAR
) -> tuple[NDArray[np.uint8], float, float, float]:
    """An image fitted into the middle of a padded square; also the scale and the left and top offsets."""
    height, width = image.shape[:2]
    scale = min(size / width, size / height)
    inner = (round(width * scale), round(height * scale))
    left, top = (size - inner[0]) // 2, (size - inner[1]) // 2
    square = np.full((size, size, 3), PAD_VALUE, np.uint8)
    square[top : top + inner[1], left : left + inner[0]] = cv2.resize(
        image, inner, interpolation=interpolation
    )
    return square, scale, float(left), float(top)


def spoil(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Now and then what a real camera chain does: blur, motion blur, noise, JPEG."""
    if rng.random() < 0.12:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.6) * image.shape[1] / 1280)
    if rng.random() < 0.06:
        length = int(rng.integers(3, 8))
        kernel = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1.0 / length
        image = cv2.filter2D(image, -1, kernel if rng.random() < 0.7 else kernel.T)
    if rng.random() < 0.1:
        cv2.setRNGSeed(int(rng.integers(2**31)))
        noise = cv2.randn(np.empty(image.shape, np.int16), 0.0, rng.uniform(2.0, 9.0))
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    if rng.random() < 0.3:
        quality = int(rng.integers(35, 95))
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return np.asarray(image, dtype=np.uint8)


def boxes_row(truth: Truth, scale: float, left: float, top: float) -> NDArray[np.float32]:
    """The truth as (MOST_OBJECTS, 6): xyxy in network pixels, class (-1: none), ignore; largest first."""
    row = np.zeros((MOST_OBJECTS, 6), np.float32)
    row[:, 4] = -1.0
    area = (truth.xyxy[:, 2:] - truth.xyxy[:, :2]).prod(axis=1) - truth.ignore * 1e9
    kept = np.argsort(-area, kind="stable")[:MOST_OBJECTS]
    row[: len(kept), :4] = truth.xyxy[kept] * scale + (left, top, left, top)
    row[: len(kept), 4] = truth.class_id[kept]
    row[: len(kept), 5] = truth.ignore[kept]
    return row


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Images (N, S, S, 3) RGB and boxes (N, MOST_OBJECTS, 6); each process fills its own share."""

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    filled: NDArray[np.int64]  # (workers,) images done
    share: int

    def ready(self) -> int:
        """Images drawn so far."""
        return int(self.filled.sum())


def _shared(shape: tuple[int, ...], dtype: type) -> NDArray:
    count = int(np.prod(shape))
    return np.frombuffer(mmap.mmap(-1, count * np.dtype(dtype).itemsize), dtype, count).reshape(shape)


def start_pool(count: int, size: int, workers: int, seed: int) -> tuple[Pool, list[multiprocessing.Process]]:
    """Starts drawing `count` images of side `size`; the processes end by themselves."""
    share = count // workers
    pool = Pool(
        _shared((share * workers, size, size, 3), np.uint8),
        _shared((share * workers, MOST_OBJECTS, 6), np.float32),
        _shared((workers,), np.int64),
        share,
    )
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_draw, args=(pool, number, size, seed), daemon=True)
        for number in range(workers)
    ]
    for process in processes:
        process.start()
    return pool, processes


def _draw(pool: Pool, worker: int, size: int, seed: int) -> None:
    os.nice(5)
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, worker])
    row, last = worker * pool.share, (worker + 1) * pool.share
    while row < last:
        width, height = SIZES[rng.integers(len(SIZES))]
        scene_seed = int(rng.integers(FIRST_TRAINING_SEED, 2**31))
        scene = StreetScene(seed=scene_seed, width=width, height=height, fps=30.0)
        for index in rng.integers(0, 36_000, FRAMES_A_SCENE).tolist():
            if row == last:
                return
            how = cv2.INTER_AREA if rng.random() < 0.2 else cv2.INTER_LINEAR
            image, scale, left, top = letterbox(spoil(scene.render(index), rng), size, how)
            pool.images[row] = image[..., ::-1]
            pool.boxes[row] = boxes_row(scene.truth(index), scale, left, top)
            row += 1
            pool.filled[worker] += 1
