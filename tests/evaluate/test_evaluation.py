"""An evaluation walks every image once, in batches, and reports what the model is worth."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from edge_app.config.models import PostprocessSection
from edge_app.errors import BackendError
from edge_app.evaluate.datasets import GroundTruth, Image, Sample
from edge_app.evaluate.evaluation import evaluate, evaluation_settings
from edge_app.messages import Candidates, Detections, Frame, FrameInfo, Timings
from tests.fakes import AnsweringBackend, candidates

LABELS = ("car", "dog")


class NumberedImages:
    """Images whose first pixel is their number; each shows a car at (10, 10) and a dog where it is even."""

    description = "numbered images"

    def __init__(self, count: int) -> None:
        self.count = count
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Sample]:
        for number in range(self.count):
            yield self.sample(number)

    def sample(self, number: int) -> Sample:
        boxes = [[10, 10, 30, 30], [40, 10, 60, 30]][: 2 - number % 2]
        nothing = np.zeros(len(boxes), bool)
        truth = GroundTruth(np.array(boxes, np.float64), np.arange(len(boxes)), nothing, nothing)
        return Sample(f"image {number}", lambda: self.load(number), truth)

    def load(self, number: int) -> Image:
        self.loaded.append(number)
        return np.full((48 + number, 64, 3), number, np.uint8)


def keep_all(info: FrameInfo, found: Candidates, timings: Timings) -> Detections:
    assert info.height == 48 + info.frame_id - 1
    return Detections(info, found.xyxy, found.confidence, found.class_id, timings=timings)


def sees_cars_and_every_fourth_dog(frame: Frame) -> Candidates:
    car = (10, 10, 30, 30, 0.9, 0)
    dog = (40, 10, 60, 30, 0.8, 1)
    return candidates(car, dog) if frame.array[0, 0, 0] % 4 == 0 else candidates(car)


def test_every_image_is_judged_once_in_batches() -> None:
    images, backend = NumberedImages(11), AnsweringBackend(sees_cars_and_every_fourth_dog, labels=LABELS)
    told: list[tuple[int, int]] = []
    report = evaluate(backend, keep_all, images, lambda done, total: told.append((done, total)))

    assert backend.batches == [4, 4, 3]
    assert images.loaded == list(range(11))
    assert backend.free_slots == 1
    assert told == [(0, 11), (4, 11), (8, 11), (11, 11)]
    found = report.average_precision
    assert (found.images, found.truths, found.detections) == (11, 17, 14)
    assert found.classes[0].ap50 == pytest.approx(1.0)
    assert found.classes[1].ap50 == pytest.approx(51 / 101)  # dogs in images 0, 4, 8 of 0, 2, 4, 6, 8, 10
    assert found.map50 == pytest.approx((1 + 51 / 101) / 2)


def test_times_are_those_of_one_image() -> None:
    report = evaluate(
        AnsweringBackend(sees_cars_and_every_fourth_dog, labels=LABELS), keep_all, NumberedImages(6)
    )
    assert report.preprocess_ms == pytest.approx(1.0)
    assert report.inference_ms == pytest.approx(10.0)
    assert 0.5 <= report.postprocess_ms < 10.0
    assert report.elapsed_s > 0


def test_the_report_is_json_and_a_table() -> None:
    report = evaluate(
        AnsweringBackend(sees_cars_and_every_fourth_dog, labels=LABELS), keep_all, NumberedImages(4)
    )
    told = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert told["map50"] == pytest.approx(report.average_precision.map50)
    assert [one["label"] for one in told["classes"]] == ["car", "dog"]
    assert set(told["ms_per_image"]) == {"preprocess", "inference", "postprocess"}
    lines = report.table().splitlines()
    assert lines[-3].split() == ["car", "4", "1.000", "1.000", "1.000"]
    assert lines[-2].split() == ["dog", "2", "0.500", "0.505", "0.505"]
    assert lines[-1].split() == ["all", "6", "0.750", "0.752", "0.752"]


class OneImage:
    """A car to be found, one that is ignored, and a crowd of cars."""

    description = "one image"

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Sample]:
        boxes = np.array([[10, 10, 30, 30], [40, 10, 60, 30], [0, 40, 64, 64]], np.float64)
        ignore, crowd = np.array([False, True, False]), np.array([False, False, True])
        truth = GroundTruth(boxes, np.array([0, 0, 0]), ignore, crowd)
        yield Sample("one", lambda: np.zeros((48, 64, 3), np.uint8), truth)


@pytest.mark.parametrize(
    ("seen", "ap50"),
    [
        ([(40, 10, 60, 30)], 1.0),
        ([(0, 40, 32, 64), (32, 40, 64, 64)], 1.0),
        ([(30, 20, 40, 30)], 0.5),
    ],
    ids=["an ignored object", "parts of a crowd", "nothing at all"],
)
def test_ignored_objects_and_crowds_are_not_mistakes(
    seen: list[tuple[float, float, float, float]], ap50: float
) -> None:
    rows = [(*box, 0.9, 0) for box in seen]
    backend = AnsweringBackend(lambda _: candidates(*rows, (10, 10, 30, 30, 0.5, 0)), labels=LABELS)
    found = evaluate(backend, keep_all, OneImage()).average_precision
    assert (found.truths, found.ignored_truths) == (1, 2)
    assert found.map50 == pytest.approx(ap50)


def test_no_images_give_no_figure() -> None:
    report = evaluate(AnsweringBackend(sees_cars_and_every_fourth_dog), keep_all, NumberedImages(0))
    assert report.average_precision.map50 is None
    assert report.table().splitlines()[-1].split() == ["all", "0", "-", "-", "-"]
    json.dumps(report.as_dict(), allow_nan=False)


def test_a_model_that_fails_ends_the_evaluation_and_returns_its_slot() -> None:
    def fail(info: FrameInfo, found: Candidates, timings: Timings) -> Detections:
        raise BackendError("the device is gone")

    backend = AnsweringBackend(sees_cars_and_every_fourth_dog, labels=LABELS)
    with pytest.raises(BackendError, match="the device is gone"):
        evaluate(backend, fail, NumberedImages(9))
    assert backend.free_slots == 1


def test_settings_for_an_evaluation_keep_the_overlap_and_let_every_detection_through() -> None:
    camera = PostprocessSection(
        confidence_threshold=0.4, class_confidence={"dog": 0.6}, classes=("dog",), iou_threshold=0.6
    )
    settings = evaluation_settings(camera)
    assert settings.confidence_threshold == 0.001
    assert settings.max_detections == 100
    assert (settings.class_confidence, settings.classes) == ({}, ())
    assert (settings.iou_threshold, settings.max_candidates) == (0.6, camera.max_candidates)
