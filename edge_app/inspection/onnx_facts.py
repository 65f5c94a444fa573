"""An ONNX file, as far as it can be told without running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data
from onnx.helper import tensor_dtype_to_np_dtype
from onnx.shape_inference import infer_shapes

from edge_app.errors import ModelError
from edge_app.interfaces import TensorSpec

Axis = int | str | None
"""A length, the name of a dynamic axis, or None where not even a name is given."""

FLOAT_NAMES = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.DOUBLE: "fp64",
}
QUANTIZING_OPERATORS = frozenset({"QuantizeLinear", "DequantizeLinear"})
FOUR_BIT = frozenset({TensorProto.INT4, TensorProto.UINT4})


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """An input or output: its element type (numpy's name) and its axes."""

    name: str
    dtype: str
    shape: tuple[Axis, ...]

    @property
    def spec(self) -> TensorSpec:
        """The same in the words of the backends."""
        axes = tuple(axis if isinstance(axis, int) and axis > 0 else None for axis in self.shape)
        return TensorSpec(self.name, axes, np.dtype(self.dtype))

    def __str__(self) -> str:
        axes = ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name} [{axes}] {self.dtype}"


@dataclass(frozen=True, slots=True)
class Amount:
    """How many numbers, and the bytes that they take."""

    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """What an ONNX file says of itself.

    Attributes:
        inputs: What must be fed; weights that are listed as inputs are not among them.
        outputs: Where the file leaves an axis open, what follows from the inputs.
        opsets: Version of the operators by domain; "" is ONNX's own.
        ir_version: Version of the file format.
        producer: Name and version of what wrote it; may be empty.
        operators: How many nodes of each operator, those inside of control flow included.
        constants: Weights and other constants by element type.
        external: Bytes of each file of weights beside the model; None where it is missing.
        metadata: The key and value pairs that exporters leave.
        fault: What ONNX's own checker says against the model; None if nothing.
    """

    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    opsets: Mapping[str, int]
    ir_version: int
    producer: str
    operators: Mapping[str, int]
    constants: Mapping[str, Amount]
    external: Mapping[str, int | None]
    metadata: Mapping[str, str]
    fault: str | None

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators; 0 where the file names none."""
        return self.opsets.get("", 0)

    @property
    def parameters(self) -> Amount:
        """All constants but the integers of shapes: 64-bit integers are not weights."""
        amounts = [amount for dtype, amount in self.constants.items() if dtype != "int64"]
        return Amount(sum(item.count for item in amounts), sum(item.bytes for item in amounts))

    @property
    def precision(self) -> str:
        """The precision of the weights in words, such as "fp32" or "mixed: fp16 98 %, fp32 2 %"."""
        if QUANTIZING_OPERATORS & set(self.operators):
            return "int8 (Q/DQ)"
        counts = {
            name: self.constants[str(tensor_dtype_to_np_dtype(number))].count
            for number, name in FLOAT_NAMES.items()
            if str(tensor_dtype_to_np_dtype(number)) in self.constants
        }
        total = sum(counts.values())
        if not total:
            return "no weights"
        ordered = sorted(counts.items(), key=lambda item: -item[1])
        if len(ordered) == 1:
            return ordered[0][0]
        return "mixed: " + ", ".join(f"{name} {count / total:.1%}" for name, count in ordered)


def load_graph(path: Path) -> ModelProto:
    """Read an ONNX file without the weights that lie beside it.

    Raises:
        ModelError: It cannot be read, or is no ONNX model.
    """
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:
        raise ModelError(
            f"{path}: not an ONNX model: {error}", hint="Is the file complete? Fetch or export it again."
        ) from error
    # Protobuf reads an empty file, and much else, as a message without content.
    if not model.ir_version or not model.graph.node:
        raise ModelError(f"{path}: not an ONNX model: it has no graph", hint="Fetch or export it again.")
    return model


def read_facts(path: Path, model: ModelProto) -> OnnxFacts:
    """Return the facts of a model that `load_graph` read from `path`."""
    initializers = {item.name for item in model.graph.initializer}
    inferred = infer_outputs(model)
    return OnnxFacts(
        inputs=tuple(_tensor(item) for item in model.graph.input if item.name not in initializers),
        outputs=inferred,
        opsets={"" if item.domain == "ai.onnx" else item.domain: item.version for item in model.opset_import},
        ir_version=model.ir_version,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        operators=dict(
            sorted(
                Counter(
                    _operator(node) for node in all_nodes(model.graph) if node.op_type != "Constant"
                ).items(),
                key=lambda item: (-item[1], item[0]),
            )
        ),
        constants=_constants(model),
        external=_external(path, model),
        metadata={item.key: item.value for item in model.metadata_props},
        fault=_fault(path),
    )


def infer_outputs(
    model: ModelProto, sizes: Mapping[str, tuple[int | None, ...]] | None = None
) -> tuple[TensorFacts, ...]:
    """Return the outputs, with the axes that follow from the inputs'.

    Args:
        model: From `load_graph`.
        sizes: Lengths of the axes of inputs by name, None where they stay as they are.
    """
    probe = ModelProto()
    probe.CopyFrom(model)
    for value in probe.graph.input:
        for dimension, length in zip(
            value.type.tensor_type.shape.dim, (sizes or {}).get(value.name, ()), strict=False
        ):
            if length is not None:
                dimension.dim_value = length
    try:
        outputs = infer_shapes(probe, data_prop=True).graph.output
    except Exception:  # noqa: BLE001 - it raises whatever it meets; what the file declares is left then
        outputs = model.graph.output
    return tuple(_tensor(item) for item in outputs)


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield the nodes of a graph and of all bodies of control flow in it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from all_nodes(attribute.g)
            for body in attribute.graphs:
                yield from all_nodes(body)


def all_constants(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield every initializer and the tensor of every Constant node, bodies of control flow included."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR and node.op_type == "Constant":
                yield attribute.t
            elif attribute.type == AttributeProto.GRAPH:
                yield from all_constants(attribute.g)
            for body in attribute.graphs:
                yield from all_constants(body)


def _operator(node: NodeProto) -> str:
    return node.op_type if node.domain in {"", "ai.onnx"} else f"{node.domain}::{node.op_type}"


def _tensor(value: ValueInfoProto) -> TensorFacts:
    kind = value.type.tensor_type
    axes = (
        axis.dim_value if axis.HasField("dim_value") else axis.dim_param or None for axis in kind.shape.dim
    )
    return TensorFacts(value.name, _dtype(kind.elem_type), tuple(axes))


def _dtype(element_type: int) -> str:
    try:
        return str(tensor_dtype_to_np_dtype(element_type))
    except KeyError:
        return "object"


def _constants(model: ModelProto) -> dict[str, Amount]:
    amounts: dict[str, Amount] = {}
    for tensor in all_constants(model.graph):
        dtype = _dtype(tensor.data_type)
        count = int(np.prod(tensor.dims, dtype=np.int64)) if tensor.dims else 1
        size = (count + 1) // 2 if tensor.data_type in FOUR_BIT else count * np.dtype(dtype).itemsize
        known = amounts.get(dtype, Amount(0, 0))
        amounts[dtype] = Amount(known.count + count, known.bytes + size)
    return dict(sorted(amounts.items(), key=lambda item: -item[1].bytes))


def _external(path: Path, model: ModelProto) -> dict[str, int | None]:
    places = {
        ExternalDataInfo(tensor).location
        for tensor in all_constants(model.graph)
        if uses_external_data(tensor)
    }
    files = {place: path.parent / place for place in sorted(places)}
    return {place: file.stat().st_size if file.is_file() else None for place, file in files.items()}


def _fault(path: Path) -> str | None:
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:  # noqa: BLE001 - whatever it says is what is reported
        return " ".join(str(error).split())[:400] or type(error).__name__
    return None
