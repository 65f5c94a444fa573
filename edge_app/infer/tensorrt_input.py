"""The image input of an engine, checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_app.errors import ModelError
from edge_app.gpu.engine import LoadedEngine
from edge_app.infer.input_spec import resolve_input_spec
from edge_app.infer.model import ModelDescription

IMAGE_DTYPES = tuple(np.dtype(kind) for kind in (np.float32, np.float16, np.uint8))

IMAGE_AXES = 4


class ImageInput:
    """The one input of a detector's engine.

    Attributes:
        name: Of the tensor.
        shape: Four axes, None where the batch size stands.
        spec: What it wants.
        dtype: float32, float16, or uint8 for models that do their own preprocessing.

    Raises:
        ModelError: The engine has other inputs, or of another kind.
    """

    def __init__(self, description: ModelDescription, engine: LoadedEngine, source: Path) -> None:
        if len(engine.inputs) != 1:
            names = ", ".join(f"{name}{list(item.spec.shape)}" for name, item in engine.inputs.items())
            raise ModelError(f"{source}: a detector with one image input is expected, found {names}")
        self.name, found = next(iter(engine.inputs.items()))
        self.dtype = found.spec.dtype
        axes = found.spec.shape
        if len(axes) != IMAGE_AXES:
            raise ModelError(f"{source}: input {self.name!r} must have 4 axes, found {list(axes)}")
        if self.dtype not in IMAGE_DTYPES:
            raise ModelError(
                f"{source}: input {self.name!r} is {self.dtype}, "
                f"expected {', '.join(str(dtype) for dtype in IMAGE_DTYPES)}"
            )
        self.spec = resolve_input_spec(description, axes)
        self.shape = found.resolve({axis: size for axis, size in enumerate(self.spec.shape(1)) if axis > 0})
