"""An evaluation with the daemon's own letterbox, ONNX Runtime, head and postprocessing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edge_app.app.detector import open_detector
from edge_app.config.models import (
    AppConfig,
    InferenceSection,
    InputOverrides,
    ModelSection,
    PostprocessSection,
)
from edge_app.evaluate.datasets import GroundTruth, Sample
from edge_app.evaluate.evaluation import evaluate, evaluation_settings

SIDE = 64
HEIGHT = 48
PADDING = (SIDE - HEIGHT) // 2
ROWS = 3


def write_reader(path: Path) -> None:
    """A model whose answer is written in the picture: each of its first rows is a row of [B, 3, 6]."""
    constants = {"starts": [0, PADDING, 0], "ends": [1, PADDING + ROWS, 6], "axes": [1, 2, 3], "channel": [1]}
    nodes = [
        helper.make_node("Slice", ["images", "starts", "ends", "axes"], ["corner"]),
        helper.make_node("Squeeze", ["corner", "channel"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "reader",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", ROWS, 6])],
        [
            helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
            for name, values in constants.items()
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


class WrittenImages:
    """Pictures of 64x48 that say where a car (and in even ones a dog) is; half of the dogs are said amiss."""

    description = "written images"

    def __len__(self) -> int:
        return 10

    def __iter__(self) -> Iterator[Sample]:
        for number in range(10):
            car, dog = [2 + number, 3, 20 + number, 30], [30, 5, 50, 25 + number]
            truths = np.array([car, dog][: 2 - number % 2], np.float64)
            said = [car] if number % 2 else [car, dog if number % 4 == 0 else [0, 30, 20, 45]]
            nothing = np.zeros(len(truths), bool)
            truth = GroundTruth(truths, np.arange(len(truths)), nothing, nothing)
            yield Sample(f"image {number}", partial(self.write, said), truth)

    @staticmethod
    def write(boxes: list[list[int]]) -> NDArray[np.uint8]:
        image = np.zeros((HEIGHT, SIDE, 3), np.uint8)
        for row, (x1, y1, x2, y2) in enumerate(boxes):
            image[row, :6] = np.array([x1, y1 + PADDING, x2, y2 + PADDING, 1, row])[:, None]
        return image


@pytest.mark.parametrize(("slots", "max_batch"), [(1, 1), (2, 4)])
def test_what_a_model_answers_comes_back_in_image_pixels(tmp_path: Path, slots: int, max_batch: int) -> None:
    write_reader(tmp_path / "reader.onnx")
    detector = open_detector(
        AppConfig(
            model=ModelSection(
                path=str(tmp_path / "reader.onnx"),
                head="end_to_end",
                labels=("car", "dog"),
                input=InputOverrides(scale=1.0),
            ),
            inference=InferenceSection(backend="onnxruntime", threads=1, slots=slots, max_batch=max_batch),
            postprocess=evaluation_settings(PostprocessSection()),
        )
    )
    try:
        report = evaluate(detector.backend, detector.detect, WrittenImages())
    finally:
        detector.backend.close()
    car, dog = report.average_precision.classes
    assert (car.truths, dog.truths) == (10, 5)
    assert car.ap50_95 == pytest.approx(1.0)
    # All five answers are equally sure, so they count in the order of the images: 1, 0, 1, 0, 1.
    assert dog.recall50 == pytest.approx(3 / 5)
    assert dog.ap50 == pytest.approx((21 * 1 + 20 * 2 / 3 + 20 * 3 / 5) / 101)
    assert report.model.backend == "onnxruntime"
    assert report.inference_ms > 0
