"""The decoding kernels beside the head and suppression of the CPU; without a GPU compiled for the CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_app.gpu.decode import GridDecoder, can_decode, result_dtype
from edge_app.gpu.kernels import load_kernels
from edge_app.gpu.memory import DeviceBuffer, PinnedBuffer, Stream
from edge_app.interfaces import GridDecode
from edge_app.messages import Candidates
from edge_app.postprocess.heads.selection import Selection
from edge_app.postprocess.heads.yolov8 import YoloV8Head
from edge_app.postprocess.nms import non_max_suppression
from tests.gpu.host_kernels import host_kernels
from tests.gpu.requirements import require_gpu

Run = Callable[["NDArray[Any]", GridDecode, "float | None"], list[Candidates]]


def grid(classes: int = 5, most: int = 3000, threshold: float = 0.25) -> GridDecode:
    return GridDecode("output0", np.full(classes, threshold, np.float32), most)


def output(
    batch: int, classes: int, anchors: int, candidates: int, *, seed: int, dtype: type = np.float32
) -> NDArray[Any]:
    """An output with so many candidates an image, in piles, with confidences of which many are equal."""
    random = np.random.default_rng(seed)
    values = np.empty((batch, 4 + classes, anchors), np.float32)
    piles = random.uniform(0, 600, (batch, 2, max(1, candidates // 4)))
    chosen = random.integers(0, piles.shape[2], (batch, anchors))
    for image in range(batch):
        values[image, :2] = piles[image][:, chosen[image]] + random.normal(0, 6, (2, anchors))
    values[:, 2:4] = random.uniform(20, 90, (batch, 2, anchors))
    values[:, 4:] = random.uniform(0, 0.2, (batch, classes, anchors))
    for image in range(batch):
        where = random.permutation(anchors)[:candidates]
        values[image, 4 + random.integers(0, classes, len(where)), where] = (
            np.round(random.uniform(0.3, 1, len(where)) * 200) / 200
        )
    return values.astype(dtype)


def on_the_host(values: NDArray[Any], request: GridDecode, iou_threshold: float | None) -> list[Candidates]:
    batch, rows, anchors = values.shape
    classes, most = rows - 4, request.max_candidates
    results = np.frombuffer(b"\xaa" * (batch * result_dtype(most).itemsize), result_dtype(most)).copy()
    scratch = [
        np.full(batch * anchors, 0xAAAAAAAA, np.uint32),
        np.full(batch * anchors, 7, np.int32),
        np.zeros(batch, np.int32),
        np.full((batch, most, 4), 7, np.float32),
        np.full((batch, most), 7, np.int32),
    ]
    arrays = [np.ascontiguousarray(values, np.float32), request.thresholds, *scratch, results]
    pointers = [ctypes.c_void_p(array.__array_interface__["data"][0]) for array in arrays]
    threshold = ctypes.c_float(-1.0 if iou_threshold is None else iou_threshold)
    host_kernels().host_decode(*pointers, classes, anchors, most, threshold, batch)
    assert not scratch[2].any(), "the counters are not back at zero"
    found = []
    for row in results:
        count, overflow, invalid, _ = row["header"].tolist()
        xyxy, confidence, class_id = (row[name][:count].copy() for name in ("xyxy", "confidence", "class_id"))
        found.append(Candidates(xyxy, confidence, class_id, overflow=overflow, invalid=invalid))
    return found


def on_the_gpu(values: NDArray[Any], request: GridDecode, iou_threshold: float | None) -> list[Candidates]:
    gpu = require_gpu()
    batch, _, anchors = values.shape
    with gpu.attach():
        stream, device, host = Stream(), DeviceBuffer(values.nbytes), PinnedBuffer(values.nbytes)
        view = host.view(values.shape, values.dtype)
        view[:] = values
        device.copy_from(view, stream)
        module = load_kernels(gpu, "decode")
        decoder = GridDecoder(module, request, anchors, values.dtype, batch, iou_threshold)
        for _ in range(2):  # the second time the counters must be back at zero
            decoder.enqueue(stream, device.address, batch)
            stream.synchronize()
        found = decoder.candidates(batch)
        for part in (decoder, host, device, stream):
            part.close()
    return found


def reference(values: NDArray[Any], request: GridDecode, iou_threshold: float | None) -> list[Candidates]:
    head = YoloV8Head("output0", Selection(request.thresholds, request.max_candidates))
    found = []
    for candidates in head.decode({"output0": values}, len(values)):
        kept = np.arange(len(candidates.xyxy))
        if iou_threshold is not None:
            kept = non_max_suppression(
                candidates.xyxy,
                candidates.confidence,
                candidates.class_id,
                iou_threshold=iou_threshold,
                max_detections=len(kept),
            )
        columns = (candidates.xyxy[kept], candidates.confidence[kept], candidates.class_id[kept])
        found.append(Candidates(*columns, overflow=candidates.overflow, invalid=candidates.invalid))
    return found


def assert_equal(found: list[Candidates], expected: list[Candidates]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.overflow, one.invalid) == (other.overflow, other.invalid)
        for name in ("xyxy", "confidence", "class_id"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


WAYS = [
    pytest.param(on_the_host, id="host"),
    pytest.param(on_the_gpu, id="gpu", marks=pytest.mark.gpu),
]


@pytest.mark.parametrize("run", WAYS)
@pytest.mark.parametrize("iou_threshold", [None, 0.0, 0.45, 0.7, 1.0])
@pytest.mark.parametrize("candidates", [0, 1, 20, 300])
def test_the_result_is_the_heads_to_the_last_bit(
    run: Run, candidates: int, iou_threshold: float | None
) -> None:
    values = output(3, 5, 1111, candidates, seed=candidates)
    request = grid()
    assert_equal(run(values, request, iou_threshold), reference(values, request, iou_threshold))


@pytest.mark.parametrize("run", WAYS)
@pytest.mark.parametrize("classes", [1, 80])
def test_many_candidates_of_a_full_grid(run: Run, classes: int) -> None:
    values = output(1, classes, 8400, 3000, seed=classes)
    request = grid(classes)
    assert_equal(run(values, request, 0.7), reference(values, request, 0.7))


@pytest.mark.parametrize("run", WAYS)
@pytest.mark.parametrize("iou_threshold", [None, 0.7])
@pytest.mark.parametrize("most", [1, 37, 300])
def test_of_too_many_the_best_are_kept_and_equals_by_anchor(
    run: Run, most: int, iou_threshold: float | None
) -> None:
    values = output(2, 3, 2100, 900, seed=most)
    request = grid(3, most)
    expected = reference(values, request, iou_threshold)
    assert expected[0].overflow == 900 - most
    assert_equal(run(values, request, iou_threshold), expected)


@pytest.mark.parametrize("run", WAYS)
def test_what_is_not_finite_or_has_no_area_is_counted(run: Run) -> None:
    values = output(2, 5, 700, 120, seed=3)
    random = np.random.default_rng(0)
    for row, value in ((0, np.nan), (1, np.inf), (2, 0.0), (3, -4.0), (2, 1e30), (4, np.nan), (6, np.inf)):
        values[:, row, random.permutation(700)[:40]] = value
    request = grid()
    expected = reference(values, request, 0.6)
    assert expected[0].invalid > 0
    assert_equal(run(values, request, 0.6), expected)


@pytest.mark.parametrize("run", WAYS)
def test_each_class_has_its_own_threshold(run: Run) -> None:
    values = output(1, 4, 900, 200, seed=8)
    thresholds = np.array([0.25, np.inf, 0.9, 0.5], np.float32)
    request = GridDecode("output0", thresholds, 3000)
    assert_equal(run(values, request, 0.7), reference(values, request, 0.7))


@pytest.mark.gpu
@pytest.mark.parametrize("seed", range(3))
def test_half_precision_with_its_many_equals(seed: int) -> None:
    values = output(8, 80, 8400, 300, seed=seed, dtype=np.float16)
    request = grid(80)
    assert_equal(on_the_gpu(values, request, 0.7), reference(values, request, 0.7))


@pytest.mark.gpu
def test_thresholds_change_between_two_batches_and_nothing_else_may() -> None:
    values = output(2, 4, 900, 200, seed=9)
    first = GridDecode("output0", np.full(4, 0.25, np.float32), 3000)
    second = GridDecode("output0", np.array([0.6, np.inf, 0.9, 0.5], np.float32), 3000)
    gpu = require_gpu()
    with gpu.attach():
        stream, device, host = Stream(), DeviceBuffer(values.nbytes), PinnedBuffer(values.nbytes)
        view = host.view(values.shape, values.dtype)
        view[:] = values
        device.copy_from(view, stream)
        decoder = GridDecoder(load_kernels(gpu, "decode"), first, 900, values.dtype, 2, 0.7)
        found = []
        for request, iou_threshold in ((first, 0.7), (second, 0.4), (first, 0.7)):
            decoder.retune(stream, request, iou_threshold)
            decoder.enqueue(stream, device.address, 2)
            stream.synchronize()
            found.append(decoder.candidates(2))
        with pytest.raises(ValueError, match="cannot become"):
            decoder.retune(stream, GridDecode("output0", first.thresholds, 100), 0.7)
        with pytest.raises(ValueError, match="cannot become"):
            decoder.retune(stream, first, None)
        for part in (decoder, host, device, stream):
            part.close()
    assert_equal(found[0], reference(values, first, 0.7))
    assert_equal(found[1], reference(values, second, 0.4))
    assert_equal(found[2], reference(values, first, 0.7))


def test_what_the_kernel_cannot_decode_is_told() -> None:
    single = np.dtype(np.float32)
    assert can_decode(grid(), (None, 9, 1000), single)
    assert not can_decode(grid(), (None, 9, None), single)
    assert not can_decode(grid(), (None, 10, 1000), single)
    assert not can_decode(grid(), (None, 9, 1000), np.dtype(np.int32))
    assert not can_decode(grid(most=5000), (None, 9, 1000), single)
