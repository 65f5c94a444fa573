"""From a model on disk to the graph that the parser gets, by precision and by typing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto, NodeProto
from onnx.shape_inference import infer_shapes
from onnx.version_converter import convert_version

from edge_app.engine.errors import BuildError
from edge_app.engine.options import Precision
from edge_app.engine.precision.graph import GraphIndex, load_model
from edge_app.engine.precision.policy import plan_precision, summarize
from edge_app.engine.precision.quantize import is_quantized
from edge_app.engine.precision.typed_graph import to_half

HALF_QUANTIZE_OPSET = 19
"""From this opset on Q/DQ takes and gives FP16, and needs no cast beside it."""


@dataclass(frozen=True, slots=True)
class PreparedGraph:
    """What is built.

    Attributes:
        content: The ONNX model to parse; None to parse the file as it is.
        keep: Node names that stay FP32, and why: for the constraints of a weakly typed builder.
        nodes: The nodes, in the order that the parser numbers them.
        notes: What was decided, for people.
    """

    content: bytes | None
    keep: Mapping[str, str]
    nodes: Sequence[NodeProto]
    notes: Sequence[str]


def prepare(path: Path, precision: Precision, *, strongly_typed: bool) -> PreparedGraph:
    """Apply the precision policy to a model; for INT8 `path` is the quantised one.

    Raises:
        BuildError: The model cannot be read, or is to be INT8 and is not quantised.
    """
    model = load_model(path)
    graph = GraphIndex(model)
    if precision is Precision.FP32:
        return PreparedGraph(None, {}, graph.nodes, ())
    if precision is Precision.INT8 and not is_quantized(graph):
        raise BuildError(
            f"{path}: the model has no Q/DQ, and INT8 needs calibration frames to add it",
            hint="edge-app build --precision int8 --calibrate FOLDER",
            kind="options",
        )
    plan = plan_precision(graph)
    notes = list(summarize(plan.keep, graph))
    if not strongly_typed:
        return PreparedGraph(model.SerializeToString(), plan.keep, graph.nodes, notes)
    if precision is Precision.INT8:
        model, note = _raise_opset(model)
        notes += [note] if note else []
        graph = GraphIndex(model)
        plan = plan_precision(graph)
    typed = to_half(model, plan)
    return PreparedGraph(typed.SerializeToString(), {}, list(typed.graph.node), notes)


def _raise_opset(model: ModelProto) -> tuple[ModelProto, str | None]:
    if GraphIndex(model).opset >= HALF_QUANTIZE_OPSET:
        return model, None
    try:
        raised = convert_version(model, HALF_QUANTIZE_OPSET)
        return infer_shapes(raised), None
    except Exception as error:  # noqa: BLE001 - the converter raises whatever it meets; the old opset works too
        return model, f"stays at its opset, so Q/DQ has casts beside it: {str(error).splitlines()[0]}"
