"""Which engines can be fed with frames, and what is written into them. No GPU is needed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edge_app.config.models import InputOverrides
from edge_app.errors import ModelError
from edge_app.geometry import Layout
from edge_app.gpu.engine import InputRange, LoadedEngine
from edge_app.infer.model import ModelDescription
from edge_app.infer.tensorrt_input import ImageInput
from edge_app.interfaces import TensorSpec

Shape = tuple["int | None", ...]


def engine_with(*inputs: tuple[Shape, type[np.generic]]) -> LoadedEngine:
    """What ImageInput reads of an engine: its inputs, whose open axes go from 1 to 64."""
    ranges = {}
    for number, (shape, dtype) in enumerate(inputs):
        spec = TensorSpec(f"images{number or ''}", shape, np.dtype(dtype))
        least = tuple(1 if axis is None else axis for axis in shape)
        greatest = tuple(64 if axis is None else axis for axis in shape)
        ranges[spec.name] = InputRange(spec, least, greatest)
    return cast("LoadedEngine", SimpleNamespace(inputs=ranges))


def image_input(engine: LoadedEngine, **overrides: object) -> ImageInput:
    wanted = InputOverrides.model_validate(overrides)
    description = ModelDescription("model", Path("model.onnx"), "0" * 64, None, wanted, "auto")
    return ImageInput(description, engine, Path("model.engine"))


def test_the_batch_may_be_open_or_fixed() -> None:
    opened = image_input(engine_with(((None, 3, 32, 48), np.float32)))
    assert (opened.shape, opened.spec.width, opened.spec.height) == ((None, 3, 32, 48), 48, 32)
    assert image_input(engine_with(((2, 3, 32, 48), np.float32))).shape == (2, 3, 32, 48)


def test_channels_last_is_understood() -> None:
    found = image_input(engine_with(((None, 32, 48, 3), np.float32)))
    assert (found.spec.layout, found.shape) == (Layout.NHWC, (None, 32, 48, 3))


def test_open_sides_come_from_the_configuration_and_fit_the_profile() -> None:
    engine = engine_with(((None, 3, None, None), np.float32))
    assert image_input(engine, width=48, height=32).shape == (None, 3, 32, 48)
    with pytest.raises(ModelError, match="axis 3 is to be 96, but the engine takes 1 to 64"):
        image_input(engine, width=96, height=32)
    with pytest.raises(ModelError, match="leaves its input width open"):
        image_input(engine)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            [((None, 3, 32, 48), np.float32), ((None, 2), np.int64)],
            r"one image input is expected, found images\[.*\], images1\[None, 2\]",
        ),
        ([((None, 3, 32), np.float32)], r"input 'images' must have 4 axes, found \[None, 3, 32\]"),
        ([((None, 3, 32, 48), np.int32)], "input 'images' is int32, expected float32, float16, uint8"),
        ([((None, 5, 32, 48), np.float32)], "cannot tell which axis"),
    ],
)
def test_an_engine_of_another_kind_is_explained(inputs: list[Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        image_input(engine_with(*inputs))
