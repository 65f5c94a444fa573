"""The whole way: traced, simplified, labelled, checked, compared with the module, and only then written."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from edge_app.export.check import Difference, check_valid, compare, refuse_unfit
from edge_app.export.errors import ExportError
from edge_app.export.simplify import simplify
from edge_app.export.trace import BATCH_AXIS, INPUT_NAME, OutputShape, trace

OPSET = 17
"""The newest that TensorRT 8.6 reads."""
OLDEST_OPSET = 11
SINGLE_FILE_BYTES = 2_000_000_000
"""Most bytes of weights in the ONNX file itself; protobuf ends at 2 GiB."""
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the model shall be.

    Attributes:
        width: Of the input in pixels.
        height: Of the input in pixels.
        opset: Version of ONNX's operators.
        name: Name of the graph; None: that of the file.
        labels: Names of the classes in order; with them names, stride and task are written as metadata.
        stride: Pixels between the anchors of the coarsest grid, for the metadata.
        metadata: More to write, such as a licence; wins over what is written by itself.
        simplify: Whether to fold constants and the arithmetic of shapes.
        tolerance: Largest difference to the module, as a share of the magnitude; see `Difference`.
        single_file_bytes: Weights beyond it lie in a file of their own beside the model.
    """

    width: int
    height: int
    opset: int = OPSET
    name: str | None = None
    labels: Sequence[str] = ()
    stride: int = 32
    metadata: Mapping[str, str] = field(default_factory=dict)
    simplify: bool = True
    tolerance: float = TOLERANCE
    single_file_bytes: int = SINGLE_FILE_BYTES


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written.

    Attributes:
        path: The model.
        sha256: Of the file.
        opset: As written.
        traced_nodes: Nodes before simplification.
        nodes: Nodes in the file.
        parameters: Numbers in the weights.
        size: Width and height of the input in pixels.
        outputs: Their names and shapes.
        differences: To the module, for each output and batch size.
        data_path: The weights, where they do not fit into the model.
    """

    path: Path
    sha256: str
    opset: int
    traced_nodes: int
    nodes: int
    parameters: int
    size: tuple[int, int]
    outputs: tuple[OutputShape, ...]
    differences: tuple[Difference, ...]
    data_path: Path | None = None

    @property
    def largest_difference(self) -> float:
        """Largest absolute difference of all outputs."""
        return max(item.largest for item in self.differences)


def export_module(module: Any, path: Path, options: ExportOptions) -> ExportReport:
    """Write a `torch.nn.Module` as the ONNX model at `path`, or nothing if it does not pass every check.

    The input is `images`, float32 [batch, 3, height, width]; the batch is the only dynamic axis. The module
    is left in evaluation mode, in FP32 and on the CPU.

    Raises:
        ExportError: It cannot be exported, or the result is not valid, or not the module.
    """
    if options.opset < OLDEST_OPSET:
        raise ExportError(f"opset {options.opset} is too old", hint=f"Use {OLDEST_OPSET} to {OPSET}.")
    if not path.parent.is_dir():
        raise ExportError(f"{path.parent}: there is no such directory")
    traced = trace(module, options.width, options.height, options.opset)
    model = simplify(traced.model) if options.simplify else traced.model
    refuse_unfit(model)
    _describe(model, traced.outputs, options, path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        written = Path(folder) / path.name
        data = _save(model, written, options.single_file_bytes)
        check_valid(written)
        size = (options.width, options.height)
        differences = compare(written, module, traced.outputs, size, options.tolerance)
        sha256 = hashlib.sha256(written.read_bytes()).hexdigest()
        if data is not None:
            data.replace(path.parent / data.name)
        written.replace(path)
    return ExportReport(
        path=path,
        sha256=sha256,
        opset=next(item.version for item in model.opset_import if not item.domain),
        traced_nodes=sum(node.op_type != "Constant" for node in traced.model.graph.node),
        nodes=sum(node.op_type != "Constant" for node in model.graph.node),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        size=size,
        outputs=traced.outputs,
        differences=differences,
        data_path=None if data is None else path.parent / data.name,
    )


def _describe(model: ModelProto, outputs: Sequence[OutputShape], options: ExportOptions, path: Path) -> None:
    """Write names, shapes and metadata; take out what tells of the machine that exported."""
    graph = model.graph
    graph.name = options.name or path.stem
    del graph.value_info[:]
    for node in graph.node:
        node.ClearField("doc_string")
    shapes = {output.name: output.shape for output in outputs}
    shapes[INPUT_NAME] = (None, 3, options.height, options.width)
    for value in (*graph.input, *graph.output):
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for length in shapes[value.name]:
            dimension = shape.dim.add()
            if length is None:
                dimension.dim_param = BATCH_AXIS
            else:
                dimension.dim_value = length
    metadata: dict[str, str] = {}
    if options.labels:
        names = dict(enumerate(options.labels))
        metadata = {
            "names": str(names),
            "stride": str(options.stride),
            "task": "detect",
            "imgsz": str([options.height, options.width]),
        }
    if options.name:
        metadata["name"] = options.name
    onnx.helper.set_model_props(model, {**metadata, **options.metadata})


def _save(model: ModelProto, path: Path, single_file_bytes: int) -> Path | None:
    """Write the model; return the file of its weights where they do not lie in the model's own."""
    if sum(len(item.raw_data) for item in model.graph.initializer) <= single_file_bytes:
        onnx.save_model(model, str(path))
        return None
    data = path.with_name(path.name + ".data")
    onnx.save_model(model, str(path), save_as_external_data=True, location=data.name)
    return data
