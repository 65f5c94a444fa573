"""The policy as types in the graph, for builders that take every type from it (strong typing).

An FP32 tensor keeps its name; its FP16 form has `HALF_SUFFIX` behind it. So inputs, outputs and everything
that a control-flow body captures stay what they were, and a cast appears only where the two worlds meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edge_app.engine.precision.graph import HALF_MAX, GraphIndex, captured
from edge_app.engine.precision.policy import PrecisionPlan, plan_precision

HALF_SUFFIX = "/fp16"
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
UNTYPED = frozenset({"Cast", "CastLike", "Constant", "ConstantOfShape", "Shape", "Size"})
"""Operators whose output type does not follow from their inputs' type."""
FLOAT_INPUTS: Mapping[str, frozenset[int]] = {"Resize": frozenset({1, 2})}
"""Inputs that stay FP32 beside FP16 data: regions and scales."""


def to_half(model: ModelProto, plan: PrecisionPlan | None = None) -> ModelProto:
    """Return the model with every operator in FP16 that the policy allows; its inputs and outputs stay FP32.

    Args:
        model: A model as `load_model` returns it; not changed.
        plan: What the policy says of it; made if not given.
    """
    graph = GraphIndex(model)
    converter = _Converter(graph, plan or plan_precision(graph))
    return converter.convert()


class _Converter:
    def __init__(self, graph: GraphIndex, plan: PrecisionPlan) -> None:
        self._graph = graph
        self._half_inputs: dict[str, set[int]] = {}
        self._half_tensors: set[str] = set()
        for node in graph.nodes:
            if node.name not in plan.keep:
                self._choose(node)
        self._wanted_half = {
            node.input[i] for node in graph.nodes for i in self._half_inputs.get(node.name, ())
        }
        self._wanted_float = self._find_wanted_float()

    def convert(self) -> ModelProto:
        result = ModelProto()
        result.CopyFrom(self._graph.model)
        del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
        for tensor in self._graph.initializers.values():
            result.graph.initializer.extend(self._constant_forms(tensor))
        for name in self._graph.input_names:
            result.graph.node.extend(self._casts(name))
        for node in self._graph.nodes:
            result.graph.node.extend(self._convert_node(node))
        onnx.checker.check_model(result)
        return result

    def _choose(self, node: NodeProto) -> None:
        """Decide which inputs and outputs of a node become FP16, by its operator's own type rules."""
        if node.op_type in UNTYPED or captured(node):
            return
        graph = self._graph
        schema = onnx.defs.get_schema(node.op_type, graph.opset, node.domain)
        variables = {item.type_param_str: item.allowed_type_strs for item in schema.type_constraints}
        floats = [
            (i, _parameter(schema.inputs, i))
            for i, tensor in enumerate(node.input)
            if tensor and graph.element_type(tensor) == FLOAT and i not in FLOAT_INPUTS.get(node.op_type, ())
        ]
        eligible = [(i, v) for i, v in floats if "tensor(float16)" in variables.get(v, ())]
        bound = {variable for _, variable in eligible}
        outputs = [
            tensor
            for i, tensor in enumerate(node.output)
            if tensor and _parameter(schema.outputs, i) in bound
        ]
        known = all(graph.element_type(tensor) != TensorProto.UNDEFINED for tensor in node.output if tensor)
        if eligible and known:
            self._half_inputs[node.name] = {i for i, _ in eligible}
            self._half_tensors.update(outputs)

    def _find_wanted_float(self) -> set[str]:
        wanted = set(self._graph.output_names)
        for node in self._graph.nodes:
            half = self._half_inputs.get(node.name, set())
            wanted.update(tensor for i, tensor in enumerate(node.input) if i not in half)
            wanted.update(captured(node))
        return wanted

    def _convert_node(self, node: NodeProto) -> Iterator[NodeProto]:
        if node.op_type == "Constant" and node.output[0] in self._wanted_half:
            yield from self._constant_nodes(node)
            return
        result = NodeProto()
        result.CopyFrom(node)
        for i in self._half_inputs.get(node.name, ()):
            result.input[i] = node.input[i] + HALF_SUFFIX
        for i, tensor in enumerate(node.output):
            if tensor in self._half_tensors:
                result.output[i] = tensor + HALF_SUFFIX
        yield result
        for tensor in node.output:
            yield from self._casts(tensor)

    def _casts(self, tensor: str) -> Iterator[NodeProto]:
        """Yield the cast to the form of a tensor that its producer does not make."""
        half = tensor + HALF_SUFFIX
        if tensor in self._half_tensors:
            if tensor in self._wanted_float:
                yield helper.make_node("Cast", [half], [tensor], name=f"{tensor}/to_fp32", to=FLOAT)
        elif tensor in self._wanted_half:
            yield helper.make_node("Cast", [tensor], [half], name=f"{tensor}/to_fp16", to=HALF)

    def _constant_forms(self, tensor: TensorProto) -> Iterator[TensorProto]:
        if tensor.name not in self._wanted_half or tensor.name in self._wanted_float:
            yield tensor
        if tensor.name in self._wanted_half:
            yield _half_constant(tensor, tensor.name + HALF_SUFFIX)

    def _constant_nodes(self, node: NodeProto) -> Iterator[NodeProto]:
        name = node.output[0]
        value = self._graph.constant(name)
        if name in self._wanted_float or value is None:
            yield node
        if value is None:
            yield from self._casts(name)
            return
        half = _half_constant(numpy_helper.from_array(value, name), name + HALF_SUFFIX)
        yield helper.make_node("Constant", [], [name + HALF_SUFFIX], name=f"{node.name}/fp16", value=half)


def _half_constant(tensor: TensorProto, name: str) -> TensorProto:
    """Return an FP32 constant in FP16; what is finite stays finite, because masks use huge numbers."""
    value = numpy_helper.to_array(tensor)
    clipped = np.where(np.isinf(value), value, np.clip(value, -HALF_MAX, HALF_MAX))
    return numpy_helper.from_array(clipped.astype(np.float16), name)


def _parameter(parameters: Sequence[onnx.defs.OpSchema.FormalParameter], index: int) -> str:
    """Return the type variable of a parameter; the last one of a variadic list stands for the rest."""
    if not parameters:
        return ""
    return str(parameters[min(index, len(parameters) - 1)].type_str)
