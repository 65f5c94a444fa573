"""An ONNX graph with an index: who makes a tensor, who takes it, and of what type it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.shape_inference import infer_shapes

from edge_app.engine.errors import BuildError

HALF_MAX = float(np.finfo(np.float16).max)
SMALLEST_SCALE = 1e-5
"""Below it FP16 has fewer than 8 bits left for a scale."""
QUANTIZING_OPERATORS = frozenset({"QuantizeLinear", "DequantizeLinear"})
WEIGHTED_OPERATORS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "BatchNormalization"})
SHAPE_READERS = frozenset({"Shape", "Size"})


def load_model(path: Path) -> ModelProto:
    """Load a model with its external data, functions inlined, every node named, every known type written.

    Raises:
        BuildError: It cannot be read, or its data is missing.
    """
    try:
        model = onnx.load_model(str(path))
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        model = infer_shapes(model, data_prop=True)
    except FileNotFoundError as error:
        raise BuildError(
            f"{path}: external data is missing: {error.filename or error}",
            hint="Copy every file of the export beside the model.",
            kind="parse",
        ) from None
    except Exception as error:
        raise BuildError(
            f"{path}: not a complete ONNX model: {error}",
            hint="Fetch or export it again; copy every file of the export beside it.",
            kind="parse",
        ) from error
    if not model.graph.node:
        raise BuildError(f"{path}: not a complete ONNX model: it has no operators", kind="parse")
    name_nodes(model.graph)
    _drop_unused_domains(model)
    return model


def _drop_unused_domains(model: ModelProto) -> None:
    """Forget operator sets that no node uses: ONNX Runtime's optimizer writes all that it knows."""
    used = {"", "ai.onnx", *(node.domain for node in model.graph.node)}
    kept = [item for item in model.opset_import if item.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def name_nodes(graph: GraphProto) -> None:
    """Give every node a name of its own, because layers are found again by it."""
    taken: set[str] = set()
    for index, node in enumerate(graph.node):
        name = node.name or f"{node.op_type}_{index}"
        while name in taken:
            name += "_"
        node.name = name
        taken.add(name)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the bodies of a control-flow node."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def captured(node: NodeProto) -> set[str]:
    """Return the names that a node's bodies take from the graph around it, and some of their own."""
    names: set[str] = set()
    for body in subgraphs(node):
        names.update(output.name for output in body.output)
        for inner in body.node:
            names.update(inner.input, captured(inner))
    return names


class GraphIndex:
    """A model's main graph, indexed. The model must come from `load_model`, or have named nodes and types."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.model = model
        self.nodes: list[NodeProto] = list(graph.node)
        self.opset = max(item.version for item in model.opset_import if item.domain in {"", "ai.onnx"})
        self.initializers: dict[str, TensorProto] = {item.name: item for item in graph.initializer}
        self.input_names = [item.name for item in graph.input if item.name not in self.initializers]
        self.output_names = [item.name for item in graph.output]
        self._by_name = {node.name: node for node in self.nodes}
        self._producers = {output: node for node in self.nodes for output in node.output if output}
        self._types = _element_types(graph)
        self._image_tensors = self._follow_image()

    @property
    def fixed_batch(self) -> int | None:
        """The length of the first input's first axis; None where it is dynamic."""
        dimensions = next(item for item in self.model.graph.input if item.name == self.input_names[0])
        first = dimensions.type.tensor_type.shape.dim[:1]
        return first[0].dim_value or None if first else None

    def node(self, name: str) -> NodeProto:
        """Return the node of that name."""
        return self._by_name[name]

    def producer(self, tensor: str) -> NodeProto | None:
        """Return the node that makes a tensor; None for inputs, initializers and constants."""
        node = self._producers.get(tensor)
        return None if node is None or node.op_type == "Constant" else node

    def element_type(self, tensor: str) -> int:
        """Return the `TensorProto.DataType` of a tensor; UNDEFINED where it is not known."""
        return self._types.get(tensor, TensorProto.UNDEFINED)

    def constant(self, tensor: str) -> NDArray[np.generic] | None:
        """Return the value of an initializer or Constant; None for anything else."""
        if tensor in self.initializers:
            return numpy_helper.to_array(self.initializers[tensor])
        node = self._producers.get(tensor)
        if node is None or node.op_type != "Constant":
            return None
        for attribute in node.attribute:
            if attribute.name == "value":
                return numpy_helper.to_array(attribute.t)
        return None

    def weight_count(self, name: str) -> int:
        """Return how many weights a layer has; a product of two activations counts as unbounded."""
        node = self._by_name[name]
        weights = self._through_dequantize(node.input[1]) if len(node.input) > 1 else None
        return int(weights.size) if weights is not None else 1 << 62

    def beyond_half(self, name: str) -> bool:
        """Tell whether a layer has weights, or a quantiser scales, that FP16 cannot hold."""
        node = self._by_name[name]
        if node.op_type in QUANTIZING_OPERATORS:
            scale = self.constant(node.input[1])
            return scale is not None and bool((np.abs(scale) < SMALLEST_SCALE).any())
        if node.op_type not in WEIGHTED_OPERATORS:
            return False
        values = [self.constant(tensor) for tensor in node.input]
        return any(
            value is not None and value.dtype == np.float32 and bool((np.abs(value) > HALF_MAX).any())
            for value in values
        )

    def depends_on_image(self, name: str) -> bool:
        """Tell whether a node calculates with pixels, and not only with shapes and constants."""
        node = self._by_name[name]
        inputs = {*node.input, *captured(node)}
        return node.op_type not in SHAPE_READERS and not self._image_tensors.isdisjoint(inputs)

    def _follow_image(self) -> frozenset[str]:
        reached = set(self.input_names)
        for node in self.nodes:
            inputs = {*node.input, *captured(node)}
            if node.op_type not in SHAPE_READERS and not reached.isdisjoint(inputs):
                reached.update(output for output in node.output if output)
        return frozenset(reached)

    def _through_dequantize(self, tensor: str) -> NDArray[np.generic] | None:
        node = self.producer(tensor)
        while node is not None and node.op_type in QUANTIZING_OPERATORS:
            tensor = node.input[0]
            node = self.producer(tensor)
        return self.constant(tensor)


def _element_types(graph: GraphProto) -> dict[str, int]:
    types = {item.name: item.data_type for item in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.HasField("tensor_type"):
            types[value.name] = value.type.tensor_type.elem_type
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    types[node.output[0]] = attribute.t.data_type
    return types
