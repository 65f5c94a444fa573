from __future__ import annotations

import numpy as np
import pytest

from edge_app.config.models import PostprocessSection
from edge_app.errors import ConfigError
from edge_app.geometry import Align, InputSpec
from edge_app.messages import Candidates, Detections, FrameInfo, Timings
from edge_app.postprocess.postprocessor import Postprocessor

LABELS = ("person", "dog")
SPEC = InputSpec(640, 640)
FULL_HD = FrameInfo("gate", 7, 0, 0, 1920, 1080)
Box = tuple[float, float, float, float]


def candidates(
    *rows: tuple[Box, float, int], overflow: int = 0, invalid: int = 0, suppressed: bool = False
) -> Candidates:
    return Candidates(
        np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([confidence for _, confidence, _ in rows], np.float32),
        np.array([class_id for *_, class_id in rows], np.int32),
        overflow,
        invalid,
        suppressed,
    )


def detections(found: Candidates, **section: object) -> Detections:
    processor = Postprocessor(SPEC, PostprocessSection.model_validate(section), LABELS)
    return processor.detections(FULL_HD, found, Timings())


def test_boxes_are_suppressed_mapped_and_ordered() -> None:
    found = detections(
        candidates(
            ((100, 240, 200, 340), 0.5, 0),
            ((100, 240, 200, 341), 0.75, 0),
            ((100, 240, 200, 340), 0.625, 1),
        )
    )
    assert found.info is FULL_HD
    assert found.xyxy.tolist() == [[300, 300, 600, 603], [300, 300, 600, 600]]
    assert found.confidence.tolist() == [0.75, 0.625]
    assert found.class_id.tolist() == [0, 1]
    assert found.xyxy.dtype == np.float32
    assert found.class_id.dtype == np.int32
    assert found.track_id is None


def test_boxes_are_clipped_and_those_outside_take_no_place() -> None:
    rows = [
        ((100.0, 0.0, 200.0, 139.0), 0.9, 0),  # in the padding above
        ((100.0, 500.0, 200.0, 600.0), 0.8, 0),  # touches the image from below
        ((-50.0, 130.0, 50.0, 240.0), 0.7, 0),
        ((300.0, 240.0, 400.0, 340.0), 0.6, 0),
    ]
    found = detections(candidates(*rows), max_detections=1)
    assert found.xyxy.tolist() == [[0, 0, 150, 300]]
    assert found.confidence.tolist() == pytest.approx([0.7])
    assert len(detections(candidates(*rows), max_detections=10)) == 2


def test_what_the_model_suppressed_is_not_suppressed_again() -> None:
    rows = [((100.0, 240.0, 200.0, 340.0), 0.5, 0), ((100.0, 240.0, 200.0, 340.0), 0.9, 0)]
    assert detections(candidates(*rows, suppressed=True)).confidence.tolist() == pytest.approx([0.9, 0.5])
    assert detections(candidates(*rows)).confidence.tolist() == pytest.approx([0.9])


def test_no_candidates_give_no_detections() -> None:
    found = detections(candidates())
    assert len(found) == 0
    assert found.xyxy.shape == (0, 4)


def test_detections_share_no_memory_with_the_candidates() -> None:
    given = candidates(((100, 240, 200, 340), 0.5, 0), ((400, 240, 500, 340), 0.75, 1))
    found = detections(given)
    for column in (given.xyxy, given.confidence, given.class_id):
        column[:] = 0
    assert found.confidence.tolist() == [0.75, 0.5]
    assert found.class_id.tolist() == [1, 0]
    assert found.xyxy.tolist() == [[1200, 300, 1500, 600], [300, 300, 600, 600]]


def test_frames_of_different_sizes_come_back_each_to_its_own() -> None:
    processor = Postprocessor(InputSpec(640, 640, align=Align.TOP_LEFT), PostprocessSection(), LABELS)
    found = candidates(((0, 0, 320, 320), 0.5, 0))
    for width, height, expected in ((1920, 1080, [0, 0, 960, 960]), (1080, 1920, [0, 0, 960, 960])):
        info = FrameInfo("gate", 0, 0, 0, width, height)
        assert processor.detections(info, found, Timings()).xyxy.tolist() == [expected]
    small = FrameInfo("gate", 0, 0, 0, 320, 240)
    assert processor.detections(small, found, Timings()).xyxy.tolist() == [[0, 0, 160, 160]]


def test_what_was_left_out_is_counted() -> None:
    processor = Postprocessor(SPEC, PostprocessSection(), LABELS)
    for _ in range(2):
        processor.detections(FULL_HD, candidates(overflow=3, invalid=2), Timings())
    assert (processor.overflow, processor.invalid) == (6, 4)


def test_its_own_time_is_added() -> None:
    processor = Postprocessor(SPEC, PostprocessSection(), LABELS)
    given = Timings(capture_ms=1, preprocess_ms=2, inference_ms=3, postprocess_ms=4)
    timings = processor.detections(FULL_HD, candidates(), given).timings
    assert timings.postprocess_ms > 4
    assert (timings.capture_ms, timings.preprocess_ms, timings.inference_ms) == (1, 2, 3)


def test_labels_that_the_model_does_not_have_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no label 'dgo' \(did you mean 'dog'\?\).*person, dog"):
        Postprocessor(SPEC, PostprocessSection(classes=("dgo",)), LABELS)
