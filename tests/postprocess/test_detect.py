from __future__ import annotations

import numpy as np
import pytest

from edge_app.config.models import PostprocessSection
from edge_app.errors import ConfigError, ModelError
from edge_app.geometry import InputSpec
from edge_app.interfaces import TensorSpec
from edge_app.postprocess.detect import HEADS, create_head
from edge_app.postprocess.thresholds import class_thresholds

COCO = tuple(f"label{number}" for number in range(80))
SQUARE = InputSpec(640, 640)
DEFAULTS = PostprocessSection()


def spec(*shape: int | None, name: str = "output0", dtype: type = np.float32) -> TensorSpec:
    return TensorSpec(name, shape, np.dtype(dtype))


def labels(count: int) -> tuple[str, ...]:
    return COCO[:count]


@pytest.mark.parametrize(
    ("shape", "classes", "input_spec", "name"),
    [
        ((1, 84, 8400), 80, SQUARE, "yolov8"),
        ((None, 84, 8400), 80, SQUARE, "yolov8"),
        ((None, 84, None), 80, SQUARE, "yolov8"),
        ((1, 10, 2100), 6, InputSpec(320, 320), "yolov8"),
        ((4, 10, 3549), 6, InputSpec(416, 416), "yolov8"),
        ((1, 5, 6300), 1, InputSpec(640, 480), "yolov8"),
        ((1, 84, 34000), 80, SQUARE, "yolov8"),  # a fourth grid at stride 4
        ((1, 84, 33600 + 400), 80, InputSpec(1280, 1280), "yolov8"),  # and one at stride 64
        ((1, 84, 21), 80, InputSpec(32, 32), "yolov8"),  # the larger axis is not the anchors'
        ((1, 6, 8400), 2, SQUARE, "yolov8"),  # six channels, not six columns
        ((1, 300, 6), 80, SQUARE, "end_to_end"),
        ((None, 300, 6), 2, SQUARE, "end_to_end"),
        ((None, None, 6), 80, SQUARE, "end_to_end"),
        ((1, 100, 6), 1, SQUARE, "end_to_end"),
    ],
)
def test_the_head_is_told_by_the_outputs(
    shape: tuple[int | None, ...], classes: int, input_spec: InputSpec, name: str
) -> None:
    assert create_head("auto", [spec(*shape)], input_spec, labels(classes), DEFAULTS).name == name
    assert create_head(name, [spec(*shape)], input_spec, labels(classes), DEFAULTS).name == name


@pytest.mark.parametrize(
    ("shape", "classes"),
    [
        ((1, 85, 8400), 80),  # another number of labels
        ((1, 84, 2100), 80),  # another input size
        ((1, 8400, 84), 80),  # transposed
        ((1, 25200, 6), 1),  # YOLOv5 with one class: six columns, but a row for each anchor
        ((1, 8400, 6), 1),  # YOLOX with one class
        ((1, 300, 7), 80),
        ((84, 8400), 80),
        ((1, 3, 80, 80, 85), 80),
        ((None, None, None), 80),
    ],
)
def test_what_no_head_decodes_is_refused(shape: tuple[int | None, ...], classes: int) -> None:
    with pytest.raises(ModelError, match="no head fits"):
        create_head("auto", [spec(*shape)], SQUARE, labels(classes), DEFAULTS)


def test_the_refusal_says_what_was_found_and_what_is_wanted() -> None:
    outputs = [spec(None, 85, 8400), spec(1, 300, name="scores", dtype=np.float16)]
    with pytest.raises(ModelError) as caught:
        create_head("auto", outputs, SQUARE, COCO, DEFAULTS)
    assert str(caught.value) == (
        "no head fits the model's outputs. Found: output0 [?, 85, 8400] float32, scores [1, 300] float16. "
        "With 80 labels and an input of 640x640 pixels, "
        "yolov8 wants [B, 84, 8400] (4 + 80 classes, 8400 anchors); "
        "end_to_end wants [B, N, 6] (x1, y1, x2, y2, confidence, class). "
        "Hint: Is the number of labels (model.labels) the model's, and model.input its size? "
        "Otherwise export the model with one output of these."
    )


def test_the_output_is_found_among_several() -> None:
    outputs = [spec(1, 3, 80, 80, 85, name="raw"), spec(1, 84, 8400, name="boxes", dtype=np.float16)]
    head = create_head("auto", outputs, SQUARE, COCO, DEFAULTS)
    output = np.zeros((1, 84, 8400), np.float16)
    output[0, :5, 7] = 100, 100, 10, 10, 0.5
    (found,) = head.decode({"raw": np.zeros(1), "boxes": output}, 1)
    assert found.xyxy.tolist() == [[95, 95, 105, 105]]


def test_integer_outputs_are_not_decoded() -> None:
    with pytest.raises(ModelError, match=r"output0 \[1, 84, 8400\] int64"):
        create_head("auto", [spec(1, 84, 8400, dtype=np.int64)], SQUARE, COCO, DEFAULTS)


def test_two_outputs_that_fit_are_ambiguous() -> None:
    outputs = [spec(1, 84, 8400, name="aux"), spec(1, 84, 8400, name="main")]
    with pytest.raises(ModelError, match="more than one of the model's outputs could be decoded: aux, main"):
        create_head("auto", outputs, SQUARE, COCO, DEFAULTS)


def test_a_chosen_head_is_checked_but_trusted_where_shapes_cannot_tell() -> None:
    assert create_head("yolov8", [spec(1, 84, 1234)], SQUARE, COCO, DEFAULTS).name == "yolov8"
    assert create_head("end_to_end", [spec(1, 8400, 6)], SQUARE, labels(1), DEFAULTS).name == "end_to_end"
    with pytest.raises(ModelError, match=r"head 'end_to_end' does not fit.*end_to_end wants \[B, N, 6\]"):
        create_head("end_to_end", [spec(1, 84, 8400)], SQUARE, COCO, DEFAULTS)
    with pytest.raises(ModelError, match="head 'yolov8' does not fit"):
        create_head("yolov8", [spec(1, 300, 6)], SQUARE, COCO, DEFAULTS)


def test_an_unknown_head_and_missing_labels_are_refused() -> None:
    with pytest.raises(ModelError, match=r"no head 'yolov9'.*Known are auto, yolov8, end_to_end"):
        create_head("yolov9", [spec(1, 84, 8400)], SQUARE, COCO, DEFAULTS)
    for missing in (None, ()):
        with pytest.raises(ModelError, match=r"does not name its classes.*84, 8400.*model\.labels"):
            create_head("auto", [spec(1, 84, 8400)], SQUARE, missing, DEFAULTS)


def test_head_names_are_unique() -> None:
    names = [head.name for head in HEADS]
    assert sorted(set(names)) == sorted(names)


def test_the_section_s_thresholds_and_limits_reach_the_head() -> None:
    section = PostprocessSection(
        confidence_threshold=0.5,
        class_confidence={"label1": 0.9},
        classes=("label0", "label1"),
        max_candidates=2,
    )
    head = create_head("auto", [spec(1, 300, 6)], SQUARE, labels(3), section)
    rows = [[0, 0, 9, 9, score, k] for k in range(3) for score in (0.95, 0.8, 0.6, 0.4)]
    (found,) = head.decode({"output0": np.array([rows], np.float32)}, 1)
    assert list(zip(found.confidence.round(2).tolist(), found.class_id.tolist(), strict=True)) == [
        (pytest.approx(0.95), 0),
        (pytest.approx(0.95), 1),
    ]
    assert found.overflow == 2


def test_thresholds_of_classes() -> None:
    section = PostprocessSection(
        confidence_threshold=0.25, class_confidence={"dog": 0.5, "car": 0.75}, classes=("dog", "cat")
    )
    assert class_thresholds(section, ("cat", "dog", "car")).tolist() == [0.25, 0.5, np.inf]
    assert class_thresholds(DEFAULTS, ("cat", "cat")).tolist() == [0.25, 0.25]


def test_unknown_labels_are_all_reported_with_a_guess() -> None:
    section = PostprocessSection(classes=("persn", "dog"), class_confidence={"zebra": 0.5})
    with pytest.raises(ConfigError) as caught:
        class_thresholds(section, ("person", "dog"))
    assert str(caught.value) == (
        "postprocess.classes: the model has no label 'persn' (did you mean 'person'?); "
        "postprocess.class_confidence: the model has no label 'zebra'. "
        "Hint: Its labels are person, dog."
    )
    assert caught.value.exit_status == 78


def test_a_long_list_of_labels_is_cut() -> None:
    many = tuple(f"thing{number}" for number in range(300))
    with pytest.raises(ConfigError, match="thing99 and 200 more"):
        class_thresholds(PostprocessSection(classes=("x",)), many)
