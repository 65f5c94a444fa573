"""Suppression against a plain loop, and the cases in which other implementations go wrong."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_app.postprocess import nms
from edge_app.postprocess.nms import non_max_suppression

Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]

ALL = 10**9


def arrays(xyxy: object, confidence: object, class_id: object) -> Arrays:
    return (
        np.array(xyxy, np.float32).reshape(-1, 4),
        np.array(confidence, np.float32),
        np.array(class_id, np.int32),
    )


def suppress(found: Arrays, iou_threshold: float = 0.7, max_detections: int = ALL) -> list[int]:
    kept = non_max_suppression(*found, iou_threshold=iou_threshold, max_detections=max_detections)
    assert kept.dtype == np.int64
    return [int(index) for index in kept]


def naive(found: Arrays, iou_threshold: float) -> list[int]:
    """Greedy suppression, one pair at a time, in float32 scalars."""
    xyxy, confidence, class_id = found
    threshold = np.float32(iou_threshold)
    kept: list[int] = []
    numbers = [index for index in range(len(xyxy)) if not np.isnan(confidence[index])]
    for index in sorted(numbers, key=lambda i: (-confidence[i], i)):
        x1, y1, x2, y2 = xyxy[index]
        area = (x2 - x1) * (y2 - y1)
        if not (x2 > x1 and y2 > y1 and 0 < area < np.inf):
            continue
        for other in kept:
            if class_id[other] != class_id[index]:
                continue
            a1, b1, a2, b2 = xyxy[other]
            width = max(min(x2, a2) - max(x1, a1), np.float32(0))
            height = max(min(y2, b2) - max(y1, b1), np.float32(0))
            inside = width * height
            if inside / (area + (a2 - a1) * (b2 - b1) - inside) > threshold:
                break
        else:
            kept.append(index)
    return kept


def scattered(count: int, classes: int, seed: int) -> Arrays:
    random = np.random.default_rng(seed)
    center, half = random.uniform(0, 640, (count, 2)), random.uniform(5, 75, (count, 2))
    return arrays(
        np.hstack([center - half, center + half]),
        random.uniform(0.25, 1, count),
        random.integers(0, classes, count),
    )


def piled(count: int, classes: int, pile: int, seed: int, spread: float = 4) -> Arrays:
    random = np.random.default_rng(seed)
    xyxy, _, class_id = scattered(max(1, count // pile), classes, seed)
    member = random.integers(0, len(xyxy), count)
    moved = xyxy[member] + random.normal(0, spread, (count, 4))
    # Two digits: many equal confidences.
    return arrays(moved, random.uniform(0.25, 1, count).round(2), class_id[member])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 0.95, 1.0])
@pytest.mark.parametrize("count", [0, 1, 2, 20, 32, 33, 150])
def test_equals_the_naive_loop(count: int, threshold: float, seed: int) -> None:
    for found in (
        scattered(count, 3, seed),
        piled(count, 3, 10, seed),
        piled(count, 1, 50, seed, spread=1),
        piled(count, 2, 5, seed, spread=30),
    ):
        assert suppress(found, threshold) == naive(found, threshold)


@pytest.mark.parametrize("found", [scattered(1500, 80, 0), piled(1500, 80, 10, 0), piled(1200, 1, 200, 0)])
def test_equals_the_naive_loop_for_many_boxes(found: Arrays) -> None:
    assert suppress(found) == naive(found, 0.7)


# Whole numbers: intersections over union at exactly the threshold are common.
whole_boxes = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 8), st.integers(1, 8))
candidate = st.tuples(whole_boxes, st.sampled_from([0.3, 0.5, 0.5, 0.9]), st.integers(0, 2))
thresholds = st.sampled_from([0.0, 1 / 3, 0.5, 0.6, 2 / 3, 0.7, 0.75, 1.0])


def from_drawn(drawn: list[tuple[tuple[int, int, int, int], float, int]]) -> Arrays:
    xyxy = [(x, y, x + width, y + height) for (x, y, width, height), _, _ in drawn]
    return arrays(xyxy, [confidence for _, confidence, _ in drawn], [class_id for *_, class_id in drawn])


@settings(max_examples=300, deadline=None)
@given(st.lists(candidate, max_size=90), thresholds)
def test_ties_and_exact_thresholds_equal_the_naive_loop(
    drawn: list[tuple[tuple[int, int, int, int], float, int]], threshold: float
) -> None:
    assert suppress(from_drawn(drawn), threshold) == naive(from_drawn(drawn), threshold)


wild = st.one_of(st.floats(width=32, allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1.0, 2.0]))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.tuples(wild, wild, wild, wild), wild, st.integers(-2, 3)), max_size=60),
    st.floats(0, 1, width=32),
)
def test_any_numbers_at_all_equal_the_naive_loop(
    drawn: list[tuple[tuple[float, float, float, float], float, int]], threshold: float
) -> None:
    found = arrays([box for box, _, _ in drawn], [c for _, c, _ in drawn], [k for *_, k in drawn])
    with np.errstate(all="ignore"):
        assert suppress(found, threshold) == naive(found, threshold)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 120), st.integers(1, 4), st.integers(1, 20), st.integers(0, 1000), thresholds)
def test_what_is_kept(count: int, classes: int, pile: int, seed: int, threshold: float) -> None:
    found = piled(count, classes, pile, seed)
    xyxy, confidence, class_id = found
    kept = suppress(found, threshold)
    assert len(set(kept)) == len(kept)
    # Ordered by confidence, equal ones as given.
    assert kept == sorted(kept, key=lambda index: (-confidence[index], index))
    # Suppressing again changes nothing.
    rest = (xyxy[kept], confidence[kept], class_id[kept])
    assert suppress(rest, threshold) == list(range(len(kept)))
    # A limit keeps the best.
    assert suppress(found, threshold, 5) == kept[:5]
    # Classes do not see each other.
    by_class = [
        members[index]
        for members in (np.flatnonzero(class_id == k) for k in range(classes))
        for index in suppress((xyxy[members], confidence[members], class_id[members]), threshold)
    ]
    assert sorted(by_class) == sorted(kept)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 120), st.integers(0, 1000))
def test_the_order_given_matters_only_among_equals(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    xyxy, _, class_id = piled(count, 2, 10, seed)
    confidence = random.permutation(np.linspace(0.3, 0.9, count, dtype=np.float32))
    order = random.permutation(count)
    shuffled = suppress((xyxy[order], confidence[order], class_id[order]))
    assert [int(order[index]) for index in shuffled] == suppress((xyxy, confidence, class_id))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "setting", [{"FEW": 0}, {"FEW": 0, "CHUNK_PAIRS": 7}, {"FEW": 0, "MANY_OVERLAPS": 0}, {"FEW": 10**6}]
)
def test_every_way_gives_the_same(
    setting: dict[str, int], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = [scattered(300, 2, seed), piled(300, 2, 30, seed), piled(300, 1, 300, seed, spread=0)]
    expected = [suppress(found) for found in scenes]
    for name, value in setting.items():
        monkeypatch.setattr(nms, name, value)
    assert [suppress(found) for found in scenes] == expected


@pytest.mark.parametrize("padding", [0, 100])
def test_exactly_at_the_threshold_stays(padding: int) -> None:
    # 70 of 100 pixels; in float32 0.7 is what 70 / 100 gives.
    apart = [[1000 + 50 * i, 0, 1010 + 50 * i, 10] for i in range(padding)]
    xyxy = [[0, 0, 10, 10], [0, 0, 10, 7], *apart]
    found = arrays(xyxy, [0.9, 0.8] + [0.5] * padding, [0] * len(xyxy))
    assert suppress(found, 0.7)[:2] == [0, 1]
    below = float(np.nextafter(np.float32(0.7), np.float32(0)))
    assert suppress(found, below)[:2] == [0, *([2] if padding else [])]


def test_chains_are_followed_from_the_best_box_on() -> None:
    # Each overlaps the next only: every other one survives, however long the chain is.
    count = 400
    xyxy = [[10 * i, 0, 10 * i + 30, 10] for i in range(count)]
    found = arrays(xyxy, np.linspace(0.9, 0.3, count), [0] * count)
    assert suppress(found, 0.45) == list(range(0, count, 2))


@pytest.mark.parametrize("count", [2, 20, 33, 3000])
def test_equal_confidences_keep_their_order(count: int) -> None:
    same = arrays([[0, 0, 10, 10]] * count, [0.5] * count, [0] * count)
    assert suppress(same) == [0]
    apart = arrays([[20 * i, 0, 20 * i + 10, 10] for i in range(count)], [0.5] * count, [0] * count)
    assert suppress(apart) == list(range(count))


def test_classes_are_not_shifted_apart_in_float32() -> None:
    # With 7680 * 79 added, float32 steps are 1/16 px: the boxes' width would round, and the overlap with it.
    xyxy = [[100.03, 100.03, 110.03, 110.03], [100.03, 100.03, 110.03, 107.06]]
    for class_id in (0, 79):
        for threshold, kept in ((0.7025, [0]), (0.7035, [0, 1])):
            assert suppress(arrays(xyxy, [0.9, 0.8], [class_id] * 2), threshold) == kept
    offset = np.float32(7680 * 79)
    shifted = arrays(np.array(xyxy, np.float32) + offset, [0.9, 0.8], [0, 0])
    assert suppress(shifted, 0.7025) != [0] or suppress(shifted, 0.7035) != [0, 1]


def test_boxes_of_other_classes_never_matter() -> None:
    found = arrays([[0, 0, 10, 10]] * 3, [0.5, 0.9, 0.7], [1, 0, 2])
    assert suppress(found, 0.0) == [1, 2, 0]


@pytest.mark.parametrize("count", [4, 100])
def test_a_nan_box_is_dropped_and_costs_no_valid_box(count: int) -> None:
    xyxy = [[np.nan, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]]
    found = arrays(
        xyxy + [[200, 0, 210, 10]] * (count - 4), [0.9, 0.8, 0.7, np.nan] + [0.5] * (count - 4), [0] * count
    )
    assert suppress(found) == [1, *([4] if count > 4 else [])]


@pytest.mark.parametrize("count", [2, 100])
def test_boxes_without_area_are_dropped(count: int) -> None:
    assert suppress(arrays([[5, 5, 5, 9]] * count, [0.9] * count, [0] * count)) == []
    assert suppress(arrays([[5, 5, 4, 4]] * count, [0.9] * count, [0] * count)) == []
    assert suppress(arrays([[5, 5, np.inf, 9]] * count, [0.9] * count, [0] * count)) == []


def test_far_and_huge_boxes_of_many_classes() -> None:
    # The sweep's key is float64: here it must lose digits, and still no pair.
    base = scattered(200, 50, 0)
    huge = arrays(np.vstack([base[0] * 1e12, base[0]]), np.tile(base[1], 2), np.tile(base[2] * 1000, 2))
    assert suppress(huge, 0.1) == naive(huge, 0.1)


def test_a_threshold_outside_of_0_to_1_is_refused() -> None:
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="iou_threshold"):
            suppress(arrays([], [], []), threshold)


def test_inputs_are_left_alone() -> None:
    found = piled(100, 2, 10, 0)
    before = [column.copy() for column in found]
    suppress(found)
    for column, copy in zip(found, before, strict=True):
        np.testing.assert_array_equal(column, copy)


def test_opencv_keeps_the_same_boxes() -> None:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "NMSBoxesBatched"):
        pytest.skip("this OpenCV has no NMSBoxesBatched")
    for seed, count in itertools.product(range(10), (20, 300)):
        xyxy, confidence, class_id = scattered(count, 5, seed)
        # Sixteenths of a pixel: OpenCV's width and height then hold exactly what the corners say.
        xyxy = (xyxy * 16).round() / np.float32(16)
        xywh = np.hstack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]])
        kept = cv2.dnn.NMSBoxesBatched(xywh, confidence, class_id, 0.0, 0.3)
        assert np.asarray(kept).ravel().tolist() == suppress((xyxy, confidence, class_id), 0.3)
