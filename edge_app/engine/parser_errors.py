"""What the ONNX parser of TensorRT says, in words that help."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto


@dataclass(frozen=True, slots=True)
class ParserFault:
    """One error of the parser.

    Attributes:
        node: Name of the ONNX node; empty where the parser does not say.
        operator: Its operator; empty where unknown.
        message: The parser's own words.
        hint: What to do about it; empty where we do not know.
    """

    node: str
    operator: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.operator or 'node'} {self.node!r}: " if self.node else ""
        return f"{place}{self.message}" + (f" ({self.hint})" if self.hint else "")


HINTS: Sequence[tuple[str, str]] = (
    (
        r"unsupported operator|no importer registered|plugin not found|could not find plugin",
        "TensorRT has no such operator: export without it, or with another opset",
    ),
    (
        r"external|failed to open|weights.*(?:missing|not found)|could not open file",
        "weights are missing: copy every data file of the export beside the model",
    ),
    (r"int64|INT64", "INT64 weights that INT32 cannot hold: export the model with INT32 indices"),
    (
        r"UNSUPPORTED_NODE_DYNAMIC|dynamic (?:shape|input|axes|axis)|shape tensor|data-dependent",
        "an axis other than the batch is dynamic here: export it with a fixed length",
    ),
    (r"DOUBLE|double|float64", "TensorRT has no FP64: export the model in FP32"),
    (
        r"zero.?point|asymmetric",
        "only symmetric quantisation is supported: zero points must be 0",
    ),
    (r"opset", "export with opset 17, which every supported TensorRT reads"),
)


def collect_faults(parser: Any, nodes: Sequence[NodeProto]) -> list[ParserFault]:
    """Return every error that a TensorRT `OnnxParser` holds.

    Args:
        parser: The parser, after a parse that failed.
        nodes: The nodes of the model, for versions whose errors hold only a node's number.
    """
    faults = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        name, operator = _place(error, nodes)
        message = " ".join(str(error.desc()).split()) or f"error {error.code()}"
        faults.append(ParserFault(name, operator, message, _hint(f"{error.code()} {message}")))
    told = {fault.node for fault in faults}
    return faults + [fault for fault in _unknown_operators(parser, nodes) if fault.node not in told]


def _unknown_operators(parser: Any, nodes: Sequence[NodeProto]) -> Iterator[ParserFault]:
    """Yield what the parser would stop at later: before version 10 it ends at its first error."""
    for node in nodes:
        # Operators of other domains may be plugins, which only parsing can tell.
        if node.domain in {"", "ai.onnx"} and not parser.supports_operator(node.op_type):
            yield ParserFault(node.name, node.op_type, "unsupported operator", _hint("unsupported operator"))


def _place(error: Any, nodes: Sequence[NodeProto]) -> tuple[str, str]:
    if hasattr(error, "node_name"):
        name, operator = str(error.node_name()), str(error.node_operator())
        if name or operator:
            return name, operator
    number = int(error.node())
    if 0 <= number < len(nodes):
        return nodes[number].name or f"#{number}", nodes[number].op_type
    return "", ""


def _hint(text: str) -> str:
    return next((hint for pattern, hint in HINTS if re.search(pattern, text, re.IGNORECASE)), "")
