"""A traced graph loses what can be calculated beforehand: constants, and the arithmetic of shapes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper
from onnx.shape_inference import infer_shapes

from edge_app.export.errors import EXPORT_EXTRA, ExportError

Shape = tuple[int, ...]

PROBES = (5, 7)
"""Batch sizes that no other axis is likely to be a multiple of both of."""


def simplify(model: ModelProto) -> ModelProto:
    """Return the model with constants folded and shapes that are known written as constants.

    Raises:
        ExportError: The package onnxslim is missing, or fails.
    """
    slimmed = _slim(model)
    if write_known_shapes(slimmed):
        slimmed = _slim(slimmed)
    return slimmed


def write_known_shapes(model: ModelProto) -> int:
    """Give Reshape and Resize constants where the graph calculates shapes; return how many there were.

    An exporter writes `x.view(x.shape[0], -1, 5)` as five nodes of 64-bit integers. What every axis is, is
    known from inferring the shapes at two batch sizes: an axis that is the same at both is a constant, and
    one that differs follows the batch.
    """
    small, large = (_shapes(model, batch) for batch in PROBES)
    constants = {item.name for item in model.graph.initializer}
    constants.update(node.output[0] for node in model.graph.node if node.op_type == "Constant")
    count = 0
    for node in model.graph.node:
        if node.op_type == "Reshape" and node.input[1] not in constants:
            count += _fix_reshape(model, node, small, large)
        elif node.op_type == "Resize" and len(node.input) > 3 and node.input[3]:
            count += _fix_resize(model, node, small, large)
    return count


def _fix_reshape(
    model: ModelProto, node: NodeProto, small: Mapping[str, Shape], large: Mapping[str, Shape]
) -> bool:
    first, second = small.get(node.output[0]), large.get(node.output[0])
    if first is None or second is None or len(first) != len(second) or 0 in first:
        return False
    shape = [a if a == b else -1 for a, b in zip(first, second, strict=True)]
    if shape.count(-1) > 1:
        return False
    node.input[1] = _add_constant(model, f"{node.output[0]}/shape", np.array(shape, np.int64))
    return True


def _fix_resize(
    model: ModelProto, node: NodeProto, small: Mapping[str, Shape], large: Mapping[str, Shape]
) -> bool:
    """Write scales instead of sizes, where every length times its scale is exactly the new length."""
    shapes = [known.get(name) for known in (small, large) for name in (node.input[0], node.output[0])]
    lengths = [shape for shape in shapes if shape is not None]
    policy = any(item.name in {"axes", "keep_aspect_ratio_policy"} for item in node.attribute)
    if len(lengths) != 4 or policy or len({len(shape) for shape in lengths}) != 1:
        return False
    before, after, before_large, after_large = (np.array(shape, np.float64) for shape in lengths)
    if 0 in before or not np.array_equal(after[1:], after_large[1:]):
        return False
    # In FP32 20/24 of 24 is a little less than 20, which a runtime may round down; such sizes stay sizes.
    scales = (after / before).astype(np.float32)
    if not (np.array_equal(before * scales, after) and np.array_equal(before_large * scales, after_large)):
        return False
    name = _add_constant(model, f"{node.output[0]}/scales", scales)
    node.input[2] = name
    del node.input[3:]
    return True


def _shapes(model: ModelProto, batch: int) -> dict[str, Shape]:
    """Return every shape that can be inferred when the first axis of each input is `batch`."""
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.value_info[:]
    for value in probe.graph.input:
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_value = batch
    for value in probe.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = infer_shapes(probe, data_prop=True).graph
    known: dict[str, Shape] = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        dimensions = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dimensions):
            known[value.name] = tuple(d.dim_value for d in dimensions)
    return known


def _add_constant(
    model: ModelProto, name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
) -> str:
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _slim(model: ModelProto) -> ModelProto:
    try:
        import onnxslim
    except ImportError as error:
        raise ExportError(
            f"the package onnxslim cannot be imported: {error}",
            hint=f"{EXPORT_EXTRA} Or leave the graph as it is: --no-simplify.",
        ) from None
    try:
        slimmed = onnxslim.slim(model)
    except Exception as error:
        raise ExportError(
            f"onnxslim {onnxslim.__version__} failed: {type(error).__name__}: {error}",
            hint="Leave the graph as it is: --no-simplify.",
        ) from error
    if not isinstance(slimmed, onnx.ModelProto):
        raise ExportError(f"onnxslim {onnxslim.__version__} returned no model")
    return slimmed
