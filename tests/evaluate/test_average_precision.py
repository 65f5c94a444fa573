"""Our average precision is COCO's: beside pycocotools on random data, and on cases worked out by hand."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_app.evaluate.average_precision import MAX_DETECTIONS, ApResult, AveragePrecision

LABELS = ("person", "bicycle", "car", "dog")
ABSENT = "dog"


@dataclass(frozen=True)
class Image:
    truth_xyxy: NDArray[np.float32]
    truth_class: NDArray[np.int32]
    truth_ignore: NDArray[np.bool_]
    truth_crowd: NDArray[np.bool_]
    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]


def random_boxes(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    corners = rng.integers(0, 300, (count, 2))
    return np.concatenate([corners, corners + rng.integers(4, 90, (count, 2))], axis=1).astype(np.float32)


def random_image(rng: np.random.Generator, *, most_truths: int, most_false: int) -> Image:
    """Whole pixels, coarse confidences and truths that hide each other: ties and choices happen."""
    classes = len(LABELS) - 1
    truths = random_boxes(rng, int(rng.integers(0, most_truths + 1)))
    truth_class = rng.integers(0, classes, len(truths)).astype(np.int32)
    twins = rng.random(len(truths)) < 0.5
    shifts = rng.choice([0, 1, 2, 5], (int(twins.sum()), 1)) * rng.choice([[1, 0, 1, 0], [0, 1, 0, 1]])
    truths = np.concatenate([truths, truths[twins] + shifts.astype(np.float32)])
    truth_class = np.concatenate([truth_class, truth_class[twins]])
    special = rng.random(len(truths))
    repeats = rng.integers(0, 3, len(truths))
    near = np.repeat(truths, repeats, axis=0)
    spread = rng.choice([0.0, 1.0, 4.0, 12.0], (len(near), 1))
    near = near + np.round(rng.normal(0, 1, near.shape) * spread).astype(np.float32)
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    false = random_boxes(rng, int(rng.integers(0, most_false + 1)))
    class_id = np.concatenate([np.repeat(truth_class, repeats), rng.integers(0, len(LABELS), len(false))])
    wrong = rng.random(len(class_id)) < 0.1
    class_id[wrong] = rng.integers(0, classes, int(wrong.sum()))
    return Image(
        truths,
        truth_class,
        special < 0.25,
        special < 0.12,
        np.concatenate([near, false]),
        (rng.integers(1, 40, len(class_id)) / 40).astype(np.float32),
        class_id.astype(np.int32),
    )


def ours(images: list[Image]) -> ApResult:
    accumulator = AveragePrecision(LABELS)
    for image in images:
        accumulator.add(
            image.truth_xyxy,
            image.truth_class,
            image.truth_ignore,
            image.xyxy,
            image.confidence,
            image.class_id,
            truth_crowd=image.truth_crowd,
        )
    return accumulator.result()


def xywh(box: NDArray[np.float32]) -> list[float]:
    x1, y1, x2, y2 = map(float, box)
    return [x1, y1, x2 - x1, y2 - y1]


def theirs(images: list[Image]) -> Any:
    """pycocotools' evaluation. It has no switch for ignored objects that are no crowds other than an area
    outside the range that is asked for, so these get an area below zero."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for index, image in enumerate(images):
        for row, box in enumerate(image.truth_xyxy):
            crowd, ignore = bool(image.truth_crowd[row]), bool(image.truth_ignore[row])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": int(image.truth_class[row]),
                    "bbox": xywh(box),
                    "area": -1.0 if ignore and not crowd else 1.0,
                    "iscrowd": int(crowd),
                }
            )
        for row, box in enumerate(image.xyxy):
            score, class_id = float(image.confidence[row]), int(image.class_id[row])
            results.append({"image_id": index, "category_id": class_id, "bbox": xywh(box), "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": index} for index in range(len(images))],
            "categories": [{"id": index, "name": label} for index, label in enumerate(LABELS)],
            "annotations": annotations,
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval


def assert_equal_to_pycocotools(images: list[Image]) -> None:
    result, reference = ours(images), theirs(images)
    precision = reference["precision"][:, :, :, 0, -1]  # (IoU, recall, class), area all, 100 detections
    recall = reference["recall"][:, :, 0, -1]
    for index, one in enumerate(result.classes):
        if recall[0, index] < 0:
            assert (one.truths, one.ap50, one.ap50_95, one.recall50) == (0, None, None, None)
            continue
        assert one.ap50 == pytest.approx(precision[0, :, index].mean(), abs=1e-9)
        assert one.ap50_95 == pytest.approx(precision[:, :, index].mean(), abs=1e-9)
        assert one.recall50 == pytest.approx(recall[0, index], abs=1e-9)
    if result.truths:
        assert result.map50 == pytest.approx(precision[0][precision[0] > -1].mean(), abs=1e-9)
        assert result.map50_95 == pytest.approx(precision[precision > -1].mean(), abs=1e-9)
    else:
        assert result.map50 is result.map50_95 is None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 12), truths=st.integers(0, 8))
def test_equals_pycocotools_on_random_images(seed: int, images: int, truths: int) -> None:
    rng = np.random.default_rng(seed)
    made = [random_image(rng, most_truths=truths, most_false=10) for _ in range(images)]
    if any(len(image.xyxy) for image in made):  # pycocotools cannot load an empty list of results
        assert_equal_to_pycocotools(made)


@pytest.mark.parametrize("seed", range(3))
def test_equals_pycocotools_with_more_detections_than_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = [random_image(rng, most_truths=40, most_false=900) for _ in range(4)]
    assert max(np.bincount(image.class_id).max() for image in made) > MAX_DETECTIONS
    assert_equal_to_pycocotools(made)


ONE_BOX = [[10.0, 10.0, 30.0, 30.0]]
NO_BOX = np.zeros((0, 4))


def test_a_perfect_detection_is_worth_one() -> None:
    accumulator = AveragePrecision(["car", "dog"])
    accumulator.add(ONE_BOX, [0], [False], ONE_BOX, [0.9], [0])
    result = accumulator.result()
    assert (result.map50, result.map50_95, result.recall50) == (1.0, 1.0, 1.0)
    assert (result.images, result.truths, result.detections) == (1, 1, 1)
    assert result.classes[1].ap50 is None


def test_one_of_two_truths_found_gives_the_precision_up_to_half_the_recall() -> None:
    accumulator = AveragePrecision(["car"])
    accumulator.add(ONE_BOX, [0], [False], ONE_BOX, [0.9], [0])
    accumulator.add(ONE_BOX, [0], [False], NO_BOX, [], [])
    assert accumulator.result().map50 == pytest.approx(51 / 101)  # recalls 0.00 to 0.50 of 0.00 to 1.00


def test_an_overlap_between_thresholds_counts_for_the_lower_ones_only() -> None:
    accumulator = AveragePrecision(["car"])
    accumulator.add([[0, 0, 10, 10]], [0], [False], [[0, 0, 10, 7]], [0.9], [0])  # IoU 0.7
    result = accumulator.result()
    assert result.map50 == 1.0
    assert result.map50_95 == pytest.approx(5 / 10)  # 0.50 to 0.70


def test_an_ignored_truth_is_neither_demanded_nor_punished() -> None:
    accumulator = AveragePrecision(["car"])
    ignored = [[100.0, 100.0, 140.0, 140.0]]
    accumulator.add([*ONE_BOX, *ignored], [0, 0], [False, True], [*ignored, *ONE_BOX], [0.9, 0.8], [0, 0])
    accumulator.add(ignored, [0], [True], NO_BOX, [], [])
    result = accumulator.result()
    assert (result.map50, result.truths, result.ignored_truths) == (1.0, 1, 2)


def test_a_second_detection_of_an_ignored_truth_is_a_mistake_and_of_a_crowd_is_none() -> None:
    figures = []
    for crowd in (False, True):
        accumulator = AveragePrecision(["car"])
        region = [[100.0, 100.0, 140.0, 140.0]]
        accumulator.add(
            [*ONE_BOX, *region],
            [0, 0],
            [False, True],
            [*region, *region, *ONE_BOX],
            [0.9, 0.8, 0.7],
            [0, 0, 0],
            truth_crowd=[False, crowd],
        )
        figures.append(accumulator.result().map50)
    assert figures == [pytest.approx(0.5), pytest.approx(1.0)]


def test_nothing_to_be_found_gives_no_figure() -> None:
    accumulator = AveragePrecision(["car"])
    accumulator.add(NO_BOX, [], [], ONE_BOX, [0.9], [0])
    result = accumulator.result()
    assert result.map50 is result.map50_95 is result.recall50 is None
    assert (result.images, result.detections) == (1, 1)
    assert AveragePrecision(["car"]).result().map50 is None


@pytest.mark.parametrize(
    ("confidence", "class_id", "message"),
    [
        ([0.9, 0.8], [0], "detection columns disagree"),
        ([0.9], [2], r"class ids must be 0 to 1, found \[2\]"),
        ([0.9], [-1], r"class ids must be 0 to 1, found \[-1\]"),
        ([float("nan")], [0], "not finite"),
    ],
)
def test_bad_columns_are_refused(confidence: list[float], class_id: list[int], message: str) -> None:
    accumulator = AveragePrecision(["car", "dog"])
    with pytest.raises(ValueError, match=message):
        accumulator.add(ONE_BOX, [0], [False], ONE_BOX, confidence, class_id)
