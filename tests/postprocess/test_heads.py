"""Heads against plain loops over the raw output."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_app.errors import ModelError
from edge_app.interfaces import Head
from edge_app.messages import Candidates
from edge_app.postprocess.heads.end_to_end import EndToEndHead
from edge_app.postprocess.heads.selection import Selection
from edge_app.postprocess.heads.yolov8 import YoloV8Head

INF = float("inf")
Thresholds = list[float]


def selection(thresholds: Thresholds, max_candidates: int = 3000) -> Selection:
    return Selection(np.array(thresholds, np.float32), max_candidates)


def yolov8(output: NDArray[np.floating], thresholds: Thresholds, max_candidates: int = 3000) -> Candidates:
    """Decode one image's [4 + classes, anchors]."""
    head: Head = YoloV8Head("output0", selection(thresholds, max_candidates))
    (found,) = head.decode({"output0": output[None]}, 1)
    return found


def end_to_end(rows: object, thresholds: Thresholds, max_candidates: int = 3000) -> Candidates:
    head: Head = EndToEndHead("output0", selection(thresholds, max_candidates))
    (found,) = head.decode({"output0": np.array(rows, np.float32).reshape(1, -1, 6)}, 1)
    return found


def rows_of(found: Candidates) -> list[tuple[list[float], float, int]]:
    assert found.xyxy.dtype == np.float32
    assert found.confidence.dtype == np.float32
    assert found.class_id.dtype == np.int32
    assert found.xyxy.shape == (len(found.confidence), 4)
    return list(zip(found.xyxy.tolist(), found.confidence.tolist(), found.class_id.tolist(), strict=True))


def random_output(classes: int, anchors: int, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    output = random.uniform(0, 0.9, (4 + classes, anchors)).astype(np.float32)
    output[:4] *= 100
    return output


def naive_yolov8(
    output: NDArray[np.floating], thresholds: Thresholds
) -> tuple[list[tuple[list[float], float, int]], int]:
    rows, invalid = [], 0
    for anchor in output.T.astype(np.float32):
        scores = anchor[4:].tolist()
        class_id = next((k for k, score in enumerate(scores) if score != score), -1)
        if class_id < 0:
            class_id = scores.index(max(scores))
        if scores[class_id] <= np.float32(thresholds[class_id]):
            continue
        cx, cy, w, h = anchor[:4]
        half_w, half_h = w * np.float32(0.5), h * np.float32(0.5)
        box = [float(value) for value in (cx - half_w, cy - half_h, cx + half_w, cy + half_h)]
        area = (np.float32(box[2]) - np.float32(box[0])) * (np.float32(box[3]) - np.float32(box[1]))
        if not (np.isfinite([*box, scores[class_id]]).all() and box[0] < box[2] and 0 < area < INF):
            invalid += 1
            continue
        rows.append((box, scores[class_id], class_id))
    return rows, invalid


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    "thresholds", [[0.5] * 5, [0.9, 0.1, 0.5, 0.7, 0.3], [INF, 0.2, INF, 0.8, INF], [INF] * 5]
)
def test_yolov8_equals_a_plain_loop(dtype: type[np.floating], thresholds: Thresholds) -> None:
    output = random_output(5, 300).astype(dtype)
    found = yolov8(output, thresholds)
    assert rows_of(found) == naive_yolov8(output, thresholds)[0]
    assert (found.overflow, found.invalid, found.suppressed) == (0, 0, False)


numbers = st.one_of(
    st.floats(0, 1, width=16), st.sampled_from([0.5, 0.25, -0.5, -0.0, 2.0, 300.0, np.nan, INF, -INF])
)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(1, 6), st.sampled_from([np.float32, np.float16]))
def test_yolov8_with_any_numbers_equals_a_plain_loop(
    data: st.DataObject, classes: int, anchors: int, dtype: type[np.floating]
) -> None:
    values = data.draw(st.lists(numbers, min_size=(4 + classes) * anchors, max_size=(4 + classes) * anchors))
    thresholds = data.draw(st.lists(st.sampled_from([0.0, 0.25, 0.5]), min_size=classes, max_size=classes))
    output = np.array(values, dtype).reshape(4 + classes, anchors)
    with np.errstate(all="ignore"):
        rows, invalid = naive_yolov8(output, thresholds)
    found = yolov8(output, thresholds)
    assert rows_of(found) == rows
    assert found.invalid == invalid


def test_negative_nan_of_float16_is_seen() -> None:
    output = np.zeros((6, 1), np.float16)
    output[:4, 0] = 10
    output[4:, 0] = 0.9, 0.1
    output[5:].view(np.uint16)[:] = 0xFE00
    found = yolov8(output, [0.25, 0.25])
    assert (len(found.xyxy), found.invalid) == (0, 1)


def test_a_confidence_at_the_threshold_is_left_out() -> None:
    output = np.array(
        [[50] * 3, [50] * 3, [10] * 3, [10] * 3, [0.25, np.nextafter(np.float32(0.25), 1), 0.2]]
    )
    assert rows_of(yolov8(output.astype(np.float32), [0.25]))[0][1] > 0.25
    assert len(yolov8(output.astype(np.float32), [0.25]).xyxy) == 1


def test_the_first_of_equal_classes_is_taken() -> None:
    output = np.array([[50], [50], [10], [10], [0.1], [0.8], [0.8]], np.float32)
    assert yolov8(output, [0.25] * 3).class_id.tolist() == [1]


def test_a_class_that_is_filtered_out_does_not_leave_its_box_to_the_next() -> None:
    output = np.array([[50], [50], [10], [10], [0.9], [0.8]], np.float32)
    assert len(yolov8(output, [INF, 0.25]).xyxy) == 0


@pytest.mark.parametrize("head", ["yolov8", "end_to_end"])
def test_the_best_candidates_are_kept_and_the_overflow_counted(head: str) -> None:
    confidence = [0.5, 0.9, 0.5, 0.1, 0.7, 0.5, 0.7]
    if head == "yolov8":
        output = np.array([range(7), [50] * 7, [10] * 7, [10] * 7, confidence], np.float32)
        found = yolov8(output, [0.25], max_candidates=4)
    else:
        rows = [[x - 5, 45, x + 5, 55, score, 0] for x, score in enumerate(confidence)]
        found = end_to_end(rows, [0.25], max_candidates=4)
    # In anchor order; of the three at 0.5 the first anchor's.
    assert ((found.xyxy[:, 0] + found.xyxy[:, 2]) / 2).tolist() == [0, 1, 4, 6]
    assert found.confidence.tolist() == np.array([0.5, 0.9, 0.7, 0.7], np.float32).tolist()
    assert (found.overflow, found.invalid) == (2, 0)


def test_invalid_boxes_take_no_place_among_the_best() -> None:
    rows = [[0, 0, 0, 10, 0.9, 0], [np.nan, 0, 10, 10, 0.8, 0], [0, 0, 10, 10, 0.5, 0], [0, 0, 9, 9, 0.4, 0]]
    found = end_to_end(rows, [0.25], max_candidates=1)
    assert found.confidence.tolist() == [0.5]
    assert (found.overflow, found.invalid) == (1, 2)


def test_end_to_end_rows() -> None:
    rows = [
        [1, 2, 11, 12, 0.9, 1],
        [1, 2, 11, 12, 0.4, 0],
        [1, 2, 11, 12, 0.4, 1],  # below its class's threshold
        [0, 0, 0, 0, 0, 0],  # an empty row
        [0, 0, 0, 0, 0, -1],  # another way to say so
    ]
    found = end_to_end(rows, [0.25, 0.5])
    expected = np.array([0.9, 0.4], np.float32).tolist()
    assert rows_of(found) == [([1, 2, 11, 12], expected[0], 1), ([1, 2, 11, 12], expected[1], 0)]
    assert (found.overflow, found.invalid, found.suppressed) == (0, 0, True)


@pytest.mark.parametrize(
    "row",
    [
        [1, 2, 11, 12, np.nan, 0],
        [1, 2, 11, 12, INF, 0],
        [1, 2, INF, 12, 0.9, 0],
        [11, 2, 1, 12, 0.9, 0],
        [11, 12, 1, 2, 0.9, 0],
        [1, 2, 11, 12, 0.9, 2],
        [1, 2, 11, 12, 0.9, -1],
        [1, 2, 11, 12, 0.9, np.nan],
        [1, 2, 11, 12, 0.9, 1e20],
    ],
)
def test_unusable_end_to_end_rows_are_counted(row: list[float]) -> None:
    found = end_to_end([[1, 2, 11, 12, 0.9, 0], row], [0.25, 0.25])
    assert len(found.xyxy) == 1
    assert found.invalid == 1


def test_float16_end_to_end() -> None:
    output = np.array([[[1, 2, 11, 12, 0.5, 79]]], np.float16)
    (found,) = EndToEndHead("output0", selection([0.25] * 80)).decode({"output0": output}, 1)
    assert rows_of(found) == [([1, 2, 11, 12], 0.5, 79)]


@pytest.mark.parametrize("head", ["yolov8", "end_to_end"])
def test_each_image_of_the_batch_is_decoded_and_no_more(head: str) -> None:
    if head == "yolov8":
        outputs = {"a": np.stack([random_output(2, 50, seed) for seed in range(3)])}
        decoder: Head = YoloV8Head("a", selection([0.5, 0.5]))
    else:
        outputs = {"a": np.random.default_rng(0).uniform(0, 1, (3, 20, 6)).astype(np.float32)}
        decoder = EndToEndHead("a", selection([0.5, 0.5]))
    together = decoder.decode(outputs, 2)
    assert len(together) == 2
    for index, found in enumerate(together):
        (alone,) = decoder.decode({"a": outputs["a"][index : index + 1]}, 1)
        assert rows_of(found) == rows_of(alone)
        assert len(found.xyxy) > 0


@pytest.mark.parametrize("all_above", [True, False])
def test_nothing_returned_lives_in_the_outputs(all_above: bool) -> None:
    threshold = [-1.0, -1.0] if all_above else [0.5, 0.5]
    grid = random_output(2, 50)[None]
    rows = np.random.default_rng(0).uniform(0, 1, (1, 20, 6)).astype(np.float32)
    rows[..., 2:4] += 1
    for head, output in (
        (YoloV8Head("a", selection(threshold)), grid),
        (EndToEndHead("a", selection(threshold)), rows),
    ):
        (found,) = head.decode({"a": output}, 1)
        before = rows_of(found)
        assert before
        output[:] = np.nan
        assert rows_of(found) == before


def test_an_output_of_another_shape_than_promised_is_refused() -> None:
    with pytest.raises(ModelError, match=r"output0 must be \[B, 6, anchors\], found \[1, 7, 50\]"):
        yolov8(np.zeros((7, 50), np.float32), [0.5, 0.5])
    with pytest.raises(ModelError, match=r"output0 must be \[B, N, 6\], found \[1, 20, 7\]"):
        EndToEndHead("output0", selection([0.5])).decode({"output0": np.zeros((1, 20, 7), np.float32)}, 1)
