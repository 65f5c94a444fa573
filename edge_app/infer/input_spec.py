"""What a model's image input wants, from the configuration, the model's description and its own shape."""

from __future__ import annotations

from edge_app.errors import ModelError
from edge_app.geometry import InputSpec, Layout
from edge_app.infer.model import ModelDescription

CHANNELS = 3
MOST_SIDE_PX = 16384
MOST_BATCH = 1024
"""Larger than anything that detects objects: a damaged or hostile file must not ask for all of the memory."""


def resolve_input_spec(description: ModelDescription, shape: tuple[int | None, ...]) -> InputSpec:
    """Return the InputSpec for a model whose image input has `shape` (4 axes, None where dynamic).

    Raises:
        ModelError: The size is not known, or what is asked for contradicts the model.
    """
    wanted = description.input
    if shape[0] is not None and not 0 < shape[0] <= MOST_BATCH:
        raise ModelError(
            f"{description.path}: a batch has 1 to {MOST_BATCH} images, but the input is {_text(shape)}"
        )
    layout = wanted.layout or _layout(description, shape)
    height_axis, width_axis, channel_axis = (2, 3, 1) if layout is Layout.NCHW else (1, 2, 3)
    if shape[channel_axis] not in {CHANNELS, None}:
        raise ModelError(
            f"{description.path}: a colour image has 3 channels, "
            f"but the {layout.value} input is {_text(shape)}",
            hint="Set model.input.layout, or use a model for colour images.",
        )
    width = _side("width", wanted.width, shape[width_axis], description)
    height = _side("height", wanted.height, shape[height_axis], description)
    fields = wanted.model_dump(exclude_none=True, exclude={"width", "height", "layout"})
    try:
        return InputSpec(width=width, height=height, layout=layout, **fields)
    except ValueError as error:
        raise ModelError(f"{description.path}: its input cannot be: {error}") from None


def _layout(description: ModelDescription, shape: tuple[int | None, ...]) -> Layout:
    if shape[1] == CHANNELS:
        return Layout.NCHW
    if shape[3] == CHANNELS:
        return Layout.NHWC
    raise ModelError(
        f"{description.path}: cannot tell which axis of {_text(shape)} is the colour",
        hint="Set model.input.layout to nchw or nhwc.",
    )


def _side(name: str, wanted: int | None, found: int | None, description: ModelDescription) -> int:
    if wanted is not None and found is not None and wanted != found:
        raise ModelError(
            f"{description.path}: input {name} is {found} pixels, but {wanted} is asked for",
            hint=f"Set model.input.{name} to {found}, or export the model again.",
        )
    side = wanted or found
    if side is not None and not 0 < side <= MOST_SIDE_PX:
        raise ModelError(f"{description.path}: input {name} must be 1 to {MOST_SIDE_PX} pixels, found {side}")
    if side is None:
        raise ModelError(
            f"{description.path}: the model leaves its input {name} open",
            hint="Set model.input.width and model.input.height.",
        )
    return side


def _text(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if axis is None else str(axis) for axis in shape) + "]"
