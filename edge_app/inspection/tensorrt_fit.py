"""What in a model matters to TensorRT before anybody waits for a build."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.external_data_helper import uses_external_data

from edge_app.inspection.onnx_facts import OnnxFacts, TensorFacts, all_constants, all_nodes

OLDEST_OPSET_LIMIT = 17
"""The newest opset that TensorRT 8.6 reads."""
CONTROL_FLOW = ("If", "Loop", "Scan")
DATA_DEPENDENT = ("NonZero", "NonMaxSuppression", "Unique", "Compress", "StringNormalizer")
EXTREMES = (np.iinfo(np.int64).max, np.iinfo(np.int64).min)
"""Exporters write "to the end" of a Slice as these; they are clamped, which is right."""


def tensorrt_warnings(model: ModelProto, facts: OnnxFacts) -> tuple[str, ...]:
    """Return one sentence for each thing that TensorRT refuses, changes or runs badly."""
    return (*_format(facts), *_axes(facts), *_operators(facts), *_types(model, facts))


def _format(facts: OnnxFacts) -> Iterator[str]:
    if facts.fault is not None:
        yield f"ONNX's own checker refuses the model: {facts.fault}"
    for place, size in facts.external.items():
        if size is None:
            yield f"its weights in {place} are missing: copy that file beside the model"
    if facts.opset > OLDEST_OPSET_LIMIT:
        yield (
            f"opset {facts.opset} is newer than what TensorRT 8.6 (JetPack 6.0) reads: "
            f"export with opset {OLDEST_OPSET_LIMIT}"
        )


def _axes(facts: OnnxFacts) -> Iterator[str]:
    for kind, tensors in (("input", facts.inputs), ("output", facts.outputs)):
        for tensor in tensors:
            dynamic = [
                axis for axis, length in enumerate(tensor.shape) if axis and not isinstance(length, int)
            ]
            if dynamic:
                numbers = ", ".join(str(axis) for axis in dynamic)
                yield f"{kind} {tensor} is dynamic in axis {numbers}: only the batch (axis 0) should be"
    fixed = [tensor for tensor in facts.inputs if _batch(tensor) is not None]
    if fixed:
        yield f"the batch is fixed to {_batch(fixed[0])}: cameras cannot share a batch of another size"


def _batch(tensor: TensorFacts) -> int | None:
    first = tensor.shape[0] if len(tensor.shape) == 4 else None
    return first if isinstance(first, int) else None


def _operators(facts: OnnxFacts) -> Iterator[str]:
    for name in CONTROL_FLOW:
        if name in facts.operators:
            yield f"{name} ({facts.operators[name]}): control flow that TensorRT takes only in part"
    for name in DATA_DEPENDENT:
        if name in facts.operators:
            yield (
                f"{name} ({facts.operators[name]}): the shape of its result depends on the data, which keeps "
                "an engine from running in a CUDA graph"
            )
    foreign = [name for name in facts.operators if "::" in name]
    if foreign:
        yield f"operators that are not ONNX's own need a plugin: {', '.join(foreign)}"


def _types(model: ModelProto, facts: OnnxFacts) -> Iterator[str]:
    if "float64" in facts.constants:
        yield "it has constants in FP64, which TensorRT does not calculate in: export in FP32"
    beyond = [name for name in (_name_beyond_int32(tensor) for tensor in all_constants(model.graph)) if name]
    if beyond:
        yield f"INT64 constants that INT32 cannot hold, which TensorRT before 10 needs: {_few(beyond)}"
    elif "int64" in facts.constants:
        count = facts.constants["int64"].count
        yield (
            f"{count} INT64 constants: TensorRT before 10 says that it makes INT32 of them; all of them fit, "
            "so that is harmless"
        )
    asymmetric = [name for name in _asymmetric(model) if name]
    if asymmetric:
        yield f"zero points other than 0, which TensorRT refuses: {_few(asymmetric)}"


def _name_beyond_int32(tensor: TensorProto) -> str | None:
    if tensor.data_type != TensorProto.INT64 or uses_external_data(tensor):
        return None
    values = numpy_helper.to_array(tensor)
    limits = np.iinfo(np.int32)
    outside = (values > limits.max) | (values < limits.min)
    return tensor.name or "a Constant" if bool((outside & ~np.isin(values, EXTREMES)).any()) else None


def _asymmetric(model: ModelProto) -> Iterator[str]:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in all_nodes(model.graph):
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"} and len(node.input) > 2:
            zero = constants.get(node.input[2])
            if zero is not None and not uses_external_data(zero) and numpy_helper.to_array(zero).any():
                yield node.input[2]


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
