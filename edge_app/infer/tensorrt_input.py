"""The image input of an engine: checked, and filled with frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.errors import ModelError
from edge_app.gpu.engine import LoadedEngine
from edge_app.infer.input_spec import resolve_input_spec
from edge_app.infer.model import ModelDescription
from edge_app.interfaces import Preprocessor, Tensor
from edge_app.messages import Frame

IMAGE_DTYPES = tuple(np.dtype(kind) for kind in (np.float32, np.float16, np.uint8))

IMAGE_AXES = 4
UINT8_MAX = 255


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
        self._scratch: NDArray[np.float32] | None = None

    def write(self, preprocessor: Preprocessor, frames: Sequence[Frame], out: Tensor) -> None:
        """Fill the front of `out`, (batch, ...) of the input's type; called by one thread.

        Raises:
            ValueError: The preprocessor cannot take a frame.
        """
        images = out if out.dtype == np.float32 else self._scratch_like(out)
        for frame, image in zip(frames, images, strict=False):
            preprocessor.write(frame, image)
        if images is not out:
            self._convert(images[: len(frames)], out[: len(frames)])

    def _scratch_like(self, out: Tensor) -> NDArray[np.float32]:
        if self._scratch is None or len(self._scratch) < len(out):
            self._scratch = np.zeros(out.shape, np.float32)
        return self._scratch

    def _convert(self, images: NDArray[np.float32], out: NDArray[Any]) -> None:
        if out.dtype == np.uint8:
            np.rint(images, out=images)
            np.clip(images, 0, UINT8_MAX, out=images)
        np.copyto(out, images, casting="unsafe")
