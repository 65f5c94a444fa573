"""The one table: which operators keep FP32 in an engine of lower precision, and why.

Where networks are strongly typed the table becomes types in the graph (`typed_graph`), below that it becomes
constraints on layers (`constraints`). Nothing else decides about precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge_app.engine.precision.graph import QUANTIZING_OPERATORS, SHAPE_READERS, GraphIndex

OVERFLOW = "leaves the range of FP16 (65504)"
ACCUMULATES = "adds many values up, and loses the small ones in FP16"
COORDINATES = "calculates coordinates, of which FP16 holds 11 bits"
RECURRENT = "carries its rounding error on from step to step"

FP32_OPERATORS: Mapping[str, str] = {
    **dict.fromkeys(("Exp", "Pow", "Softplus", "Reciprocal", "Sqrt", "Log"), OVERFLOW),
    **dict.fromkeys(
        (
            "Softmax",
            "LogSoftmax",
            "ReduceSum",
            "ReduceMean",
            "ReduceProd",
            "ReduceL1",
            "ReduceL2",
            "ReduceSumSquare",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "CumSum",
            "LayerNormalization",
            "InstanceNormalization",
            "GroupNormalization",
            "MeanVarianceNormalization",
            "LpNormalization",
            "RMSNormalization",
        ),
        ACCUMULATES,
    ),
    **dict.fromkeys(("NonMaxSuppression", "RoiAlign", "GridSample", "Range", "Sin", "Cos"), COORDINATES),
    **dict.fromkeys(("If", "Loop", "Scan", "LSTM", "GRU", "RNN"), RECURRENT),
}

NORMALIZATION_STEPS: Mapping[str, frozenset[str]] = {
    "Sub": frozenset({"ReduceMean"}),
    "Mul": frozenset({"ReduceMean", "Sub"}),
    "Add": frozenset({"ReduceMean"}),
    "Div": frozenset({"Sqrt"}),
}
"""Steps of a normalization that an exporter wrote out: the operator, and whose output it takes directly.
A Mul of a Sub is kept only when it squares it."""

LAYER_OPERATORS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
"""Where the walk back from the outputs ends: behind the last layer with weights lies the head's decode."""

DECODE_WEIGHTS = 64
"""A Conv of at most so many weights is arithmetic of the decode: the expectation of a distribution."""


@dataclass(frozen=True, slots=True)
class PrecisionPlan:
    """What the policy says of one model.

    Attributes:
        keep: Node names that stay FP32, and why.
        last_layers: Names of the head's last layers with weights, which are not quantised.
    """

    keep: Mapping[str, str]
    last_layers: frozenset[str]


def plan_precision(graph: GraphIndex) -> PrecisionPlan:
    """Apply the table to a model."""
    keep: dict[str, str] = {}
    decode, last_layers = decode_nodes(graph)
    for name in decode:
        keep[name] = "decodes the head's output"
    for node in graph.nodes:
        reason = (
            FP32_OPERATORS.get(node.op_type) if node.domain in {"", "ai.onnx"} else "not a standard operator"
        )
        if reason is None and _normalizes(graph, node.name):
            reason = "a step of a normalization"
        quantizes = node.op_type in QUANTIZING_OPERATORS
        if reason is None and not quantizes and not graph.depends_on_image(node.name):
            reason = "calculates shapes or constants"
        if reason is None and graph.beyond_half(node.name):
            reason = "has weights or scales beyond the range of FP16"
        if reason is not None:
            keep.setdefault(node.name, reason)
    return PrecisionPlan(keep, last_layers)


def decode_nodes(graph: GraphIndex) -> tuple[frozenset[str], frozenset[str]]:
    """Return the nodes between the last layers with weights and the outputs, and those last layers."""
    decode: set[str] = set()
    layers: set[str] = set()
    waiting = list(graph.output_names)
    while waiting:
        node = graph.producer(waiting.pop())
        if node is None or node.name in decode or node.name in layers:
            continue
        if node.op_type in LAYER_OPERATORS and graph.weight_count(node.name) > DECODE_WEIGHTS:
            layers.add(node.name)
            continue
        decode.add(node.name)
        if node.op_type not in SHAPE_READERS:
            waiting.extend(node.input)
    return frozenset(decode), frozenset(layers)


def summarize(keep: Mapping[str, str], graph: GraphIndex) -> Iterable[str]:
    """Yield one line for each reason: how many nodes of which operators stay FP32."""
    reasons: dict[str, dict[str, int]] = {}
    for name, reason in keep.items():
        operator = graph.node(name).op_type
        counts = reasons.setdefault(reason, {})
        counts[operator] = counts.get(operator, 0) + 1
    for reason, counts in reasons.items():
        operators = ", ".join(f"{count} {operator}" for operator, count in sorted(counts.items()))
        yield f"FP32 ({reason}): {operators}"


def _normalizes(graph: GraphIndex, name: str) -> bool:
    node = graph.node(name)
    sources = NORMALIZATION_STEPS.get(node.op_type)
    if sources is None:
        return False
    producers = [graph.producer(tensor) for tensor in node.input]
    operators = {producer.op_type for producer in producers if producer is not None}
    if node.op_type == "Mul" and not (operators & {"ReduceMean"}):
        return operators == {"Sub"} and len(set(node.input)) == 1
    if node.op_type in {"Add", "Mul"}:
        # Only "variance + epsilon" and "sum * 1/n"; a residual addition behind a pooling is none.
        return bool(operators & sources) and None in producers
    return bool(operators & sources)
