"""Many batches through the TensorRT backend: nothing grows, nothing mixes, and a failure names its stage."""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_app.config.models import InferenceSection, ModelSection
from edge_app.errors import BackendError, StageFailedError
from edge_app.gpu.context import Gpu
from edge_app.gpu.enqueue import CopyIn, LaunchGraph
from edge_app.gpu.resource import live_resources
from edge_app.gpu.slot import ExecutionSlot
from edge_app.infer.model import describe_model
from edge_app.infer.tensorrt import Plan, TensorRtBackend
from edge_app.interfaces import Head, Pending, TensorMap
from edge_app.messages import Candidates, Frame, FrameInfo
from edge_app.postprocess.heads.selection import Selection
from edge_app.postprocess.heads.yolov8 import YoloV8Head
from tests.gpu.plans import build_plan, model_bytes, write_plan
from tests.gpu.requirements import require_gpu
from tests.pipeline.leased import CAMERA, CountingLease, LeasedStreet

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]

MIB = 2**20
WIDTH, HEIGHT = 48, 32
CLASSES = 5
ANCHORS = 3 * WIDTH * HEIGHT // (4 + CLASSES)
MAX_BATCH = 5
"""Not a power of two: batches of 3 are filled up to the graph of 4, and 5 has its own."""
SLOTS = 2
SIZES = ((640, 360), (320, 240))
WARM_UP = 400
BATCHES = 10_000


@pytest.fixture(scope="module")
def gpu() -> Gpu:
    return require_gpu()


@pytest.fixture(scope="module")
def boxes(gpu: Gpu, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads its image as boxes, [B, 4 + classes, anchors]; its engine lies beside it.

    It only multiplies. There is no sum in it whose order could depend on the batch's size, so an image's
    boxes must be the same to the last bit whatever else is in the batch.
    """
    gain = np.array([600, 600, 90, 90] + [1] * CLASSES, np.float32).reshape(1, -1, 1)
    model = model_bytes(
        [
            helper.make_node("Reshape", ["images", "shape"], ["rows"]),
            helper.make_node("Mul", ["rows", "gain"], ["output0"]),
        ],
        [("images", TensorProto.FLOAT, ["batch", 3, HEIGHT, WIDTH])],
        [("output0", TensorProto.FLOAT, ["batch", 4 + CLASSES, ANCHORS])],
        numpy_helper.from_array(np.array([0, 4 + CLASSES, ANCHORS], np.int64), "shape"),
        numpy_helper.from_array(gain, "gain"),
    )
    path = tmp_path_factory.mktemp("boxes") / "boxes.onnx"
    path.write_bytes(model)
    image = (3, HEIGHT, WIDTH)
    plan = build_plan(model, {"images": ((1, *image), (2, *image), (MAX_BATCH, *image))})
    write_plan(path.parent, plan, path.with_suffix(".engine").name)
    return path


@pytest.fixture(autouse=True)
def no_frames_of_other_tests() -> Iterator[None]:
    """What lies about is collected now: frames that a kept error refers to would be freed at any moment."""
    gc.collect()
    yield
    gc.collect()


class HostHead:
    """Decodes on the host what a GPU could decode too."""

    name = "yolov8"
    grid = None

    def __init__(self, head: YoloV8Head) -> None:
        self.head = head

    def decode(self, outputs: TensorMap, batch: int) -> Sequence[Candidates]:
        return self.head.decode(outputs, batch)


@contextmanager
def opened(model: Path, *, on_the_gpu: bool = True, max_batch: int = MAX_BATCH) -> Iterator[TensorRtBackend]:
    head = YoloV8Head("output0", Selection(np.full(CLASSES, 0.6, np.float32), ANCHORS))
    chosen: Head = head if on_the_gpu else HostHead(head)
    path = model.with_suffix(".engine")
    backend = TensorRtBackend(
        describe_model(ModelSection(), model),
        Plan(path.read_bytes(), path, "fp32"),
        InferenceSection(slots=SLOTS, max_batch=max_batch),
        lambda *_: chosen,
        iou_threshold=0.7,
    )
    backend.open()
    try:
        assert backend.description.endswith("decoded on the GPU") is on_the_gpu
        yield backend
    finally:
        backend.close()


def noise(
    backend: TensorRtBackend,
    seed: int,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    *,
    pinned: bool,
    camera_id: str = CAMERA,
) -> Frame:
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    if pinned:
        memory, is_pinned = backend.allocate(pixels.shape)
        assert is_pinned
        memory[:] = pixels
        pixels = memory
    info = FrameInfo(camera_id, seed, time.monotonic_ns(), time.time_ns(), width, height)
    return Frame(info, pixels, lease=CountingLease(pinned=pinned))


def run(backend: TensorRtBackend, frames: Sequence[Frame]) -> Sequence[Candidates]:
    slot = backend.acquire(10)
    assert slot is not None
    with backend.submit(slot, frames).result(30) as result:
        return result.candidates


def released(frames: Sequence[Frame]) -> int:
    return sum(frame.lease.released for frame in frames if isinstance(frame.lease, CountingLease))


def all_slots_are_free(backend: TensorRtBackend) -> bool:
    slots = [backend.acquire(0.1) for _ in range(SLOTS + 1)]
    for slot in slots[:SLOTS]:
        assert slot is not None
        backend.release(slot)
    return slots[SLOTS] is None


def assert_equal(found: Candidates, expected: Candidates, batch: Sequence[str]) -> None:
    assert (found.overflow, found.invalid) == (expected.overflow, expected.invalid), batch
    for name in ("xyxy", "confidence", "class_id"):
        np.testing.assert_array_equal(
            getattr(found, name), getattr(expected, name), err_msg=f"{name} {batch}"
        )


def test_memory_and_slots_are_flat_over_ten_thousand_batches_of_mixed_sizes(boxes: Path, gpu: Gpu) -> None:
    random = np.random.default_rng(1)
    with opened(boxes) as backend:
        frames = [
            noise(backend, seed, size, pinned=pinned)
            for seed in range(3)
            for size in SIZES
            for pinned in (True, False)
        ]
        sent = 0
        in_flight: deque[Pending] = deque()

        def finish() -> None:
            with in_flight.popleft().result(30) as result:
                assert 1 <= len(result.candidates) <= MAX_BATCH

        def walk(batches: int) -> None:
            nonlocal sent
            for _ in range(batches):
                if len(in_flight) == SLOTS:
                    finish()
                slot = backend.acquire(10)
                assert slot is not None
                batch = [
                    frames[i] for i in random.integers(len(frames), size=random.integers(1, MAX_BATCH + 1))
                ]
                in_flight.append(backend.submit(slot, batch))
                sent += len(batch)
            while in_flight:
                finish()

        walk(WARM_UP)
        start_bytes, open_then = gpu.memory_bytes()[0], live_resources()
        assert open_then["execution slot"] == SLOTS
        for _ in range(10):
            walk(BATCHES // 10)
            assert abs(gpu.memory_bytes()[0] - start_bytes) <= MIB
            assert live_resources() == open_then
        assert all_slots_are_free(backend)
        assert released(frames) == sent
    # The page-locked frames live on.
    assert "execution slot" not in live_resources()
    assert "device buffer" not in live_resources()


@pytest.mark.parametrize("on_the_gpu", [True, False], ids=["decoded on the GPU", "decoded on the host"])
def test_a_frame_gives_the_same_alone_and_in_every_batch_with_and_without_graphs(
    boxes: Path, on_the_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone: dict[str, Candidates] = {}
    for graphs in (True, False):
        if not graphs:
            monkeypatch.setattr("edge_app.infer.tensorrt.graph_driver", lambda: None)
        with opened(boxes, on_the_gpu=on_the_gpu) as backend:
            assert ("no CUDA graphs" in backend.description) is not graphs
            sizes = ((WIDTH, HEIGHT), (2 * WIDTH, HEIGHT), (WIDTH + 10, 2 * HEIGHT))
            frames = [
                noise(backend, seed, sizes[seed % 3], pinned=seed % 2 == 0, camera_id=f"camera{seed}")
                for seed in range(MAX_BATCH)
            ]
            if graphs:
                alone = {frame.info.camera_id: run(backend, [frame])[0] for frame in frames}
            batches = 0
            for count in range(1, MAX_BATCH + 1):
                for order in permutations(frames, count):
                    cameras = [frame.info.camera_id for frame in order]
                    for camera_id, found in zip(cameras, run(backend, order), strict=True):
                        assert_equal(found, alone[camera_id], cameras)
                    batches += 1
            assert batches == 325
    # Otherwise one frame's result in another's place would not be seen.
    assert all(len(found.xyxy) > 10 for found in alone.values())
    assert len({found.xyxy.tobytes() for found in alone.values()}) == MAX_BATCH


def fail_from_call(patch: pytest.MonkeyPatch, owner: type, name: str, number: int) -> None:
    """Let `owner.name` raise BackendError from its call of this number on, counted from 0."""
    original = getattr(owner, name)
    calls = 0

    def call(self: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > number:
            raise BackendError("the GPU is gone")
        return original(self, *arguments)

    patch.setattr(owner, name, call)


def make_street(backend: TensorRtBackend, count: int, *, wrong: int | None = None) -> LeasedStreet:
    """A street with a film, every other frame of which is page-locked; `wrong` is not what it says."""

    def make_frame(number: int) -> Frame:
        frame = noise(backend, number, pinned=number % 2 == 0)
        return replace(frame, pixels=frame.array[1:]) if number == wrong else frame

    return LeasedStreet(backend, count, make_frame)


def assert_all_is_given_back(backend: TensorRtBackend, street: LeasedStreet) -> None:
    """Slots and frames are back, and each slot still runs a batch."""
    assert street.film.not_given_back_once() == []
    assert all_slots_are_free(backend)
    frame = noise(backend, 1, pinned=False)
    first, second = (run(backend, [frame])[0] for _ in range(SLOTS))
    assert len(first.xyxy) > 10
    assert_equal(second, first, [CAMERA])


FAILS_AT = 20


@pytest.mark.parametrize("owner", [LaunchGraph, CopyIn])
def test_a_batch_that_cannot_be_enqueued_ends_the_street_in_the_feeders_name(
    boxes: Path, gpu: Gpu, owner: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    if owner is CopyIn and gpu.integrated:
        pytest.skip("this GPU reads frames where they are")
    with opened(boxes) as backend:
        if "no CUDA graphs" in backend.description:
            pytest.skip("cuda-bindings is not installed")
        street = make_street(backend, 10 * FAILS_AT)
        with monkeypatch.context() as patch:
            # Each batch of this one camera is one frame: one copy, one launch.
            fail_from_call(patch, owner, "__call__", FAILS_AT)
            with pytest.raises(
                StageFailedError, match=r"^stage 'feeder' failed: BackendError: the GPU is gone$"
            ) as raised:
                street.run()
        assert (raised.value.stage, type(raised.value.__cause__)) == ("feeder", BackendError)
        assert street.sink.received == list(range(FAILS_AT))
        assert_all_is_given_back(backend, street)


def test_a_frame_that_is_not_what_it_says_ends_the_street_in_the_feeders_name(boxes: Path) -> None:
    with opened(boxes) as backend:
        street = make_street(backend, 10 * FAILS_AT, wrong=FAILS_AT)
        with pytest.raises(
            StageFailedError, match=r"^stage 'feeder' failed: ValueError: a 48x32 bgr frame must be uint8"
        ) as raised:
            street.run()
        assert (raised.value.stage, type(raised.value.__cause__)) == ("feeder", ValueError)
        assert street.sink.received == list(range(FAILS_AT))
        assert_all_is_given_back(backend, street)


def test_a_batch_that_fails_on_the_gpu_ends_the_street_in_the_name_of_postprocess(
    boxes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(boxes) as backend:
        # The film ends with the frame that fails: no batch is behind it.
        street = make_street(backend, FAILS_AT + 1)
        with monkeypatch.context() as patch:
            fail_from_call(patch, ExecutionSlot, "wait", FAILS_AT)
            with pytest.raises(
                StageFailedError, match=r"^stage 'postprocess' failed: BackendError: the GPU is gone$"
            ) as raised:
                street.run()
        assert (raised.value.stage, type(raised.value.__cause__)) == ("postprocess", BackendError)
        assert street.sink.received == list(range(FAILS_AT))
        assert_all_is_given_back(backend, street)
