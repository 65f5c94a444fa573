"""What an ONNX file says of itself, read without a runtime."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from edge_app.errors import ModelError
from edge_app.geometry import InputSpec
from edge_app.infer.input_spec import resolve_input_spec
from edge_app.infer.label_metadata import labels_of_metadata
from edge_app.infer.model import ModelDescription

logger = logging.getLogger(__name__)

IMAGE_AXES = 4


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """The image input of a detector, and its labels.

    Attributes:
        spec: What the input wants.
        batch: Its batch size; None where that is open.
        labels: The class names of the description, or else of the file's metadata.
    """

    spec: InputSpec
    batch: int | None
    labels: tuple[str, ...] | None


def read_onnx(description: ModelDescription) -> OnnxFacts:
    """Read the file of a model; its weights are not looked at.

    Raises:
        ModelError: It is no ONNX, or not a detector with one image input.
    """
    import onnx

    path = description.path
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except Exception as error:
        raise ModelError(f"{path}: not an ONNX model: {error}", hint="Fetch or export it again.") from error
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ModelError(f"{path}: a detector with one image input is expected, found {names}")
    shape = tuple(axis.dim_value or None for axis in inputs[0].type.tensor_type.shape.dim)
    if len(shape) != IMAGE_AXES:
        raise ModelError(f"{path}: input {inputs[0].name!r} must have 4 axes, found {list(shape)}")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    labels = description.labels or _labels(metadata.get("names"))
    return OnnxFacts(resolve_input_spec(description, shape), shape[0], labels)


def _labels(names: str | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    try:
        return labels_of_metadata(names)
    except ValueError as error:
        logger.warning("the labels in the model's metadata cannot be read: %s", error)
        return None
