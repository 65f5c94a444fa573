"""The export of a YOLO model that trtutils wants: one that suppresses by itself, and its engine.

TensorRT's plugin `EfficientNMS_TRT` is appended to the raw output, which is masked first so that the same
candidates come into question as in edge_app.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edge_app.app.model import describe
from edge_app.config.models import AppConfig
from edge_app.errors import EdgeAppError
from edge_app.postprocess.thresholds import class_thresholds

NMS = "nms/"
"""Begins the names of what `append_nms` adds."""

Floats = NDArray[np.float32]


def append_nms(model: ModelProto, thresholds: Floats, iou: float, most: int) -> ModelProto:
    """Append TensorRT's EfficientNMS to a model whose output is [B, 4 + classes, anchors].

    That is what trtutils decodes. The plugin gives a box all of its classes; where few classes are wanted, a
    box keeps its confidence in one only if that is its best class, the first of equals, as the others do.

    Raises:
        EdgeAppError: The wanted classes have several thresholds, of which the plugin has one.
    """
    wanted = [int(row) for row in np.flatnonzero(np.isfinite(thresholds))]
    levels = {float(thresholds[row]) for row in wanted}
    if len(levels) != 1:
        raise EdgeAppError(f"EfficientNMS has one threshold; the wanted classes have {sorted(levels)}")
    extended = ModelProto()
    extended.CopyFrom(model)
    graph, classes = extended.graph, len(thresholds)
    surgery = Surgery(next(item.version for item in model.opset_import if item.domain in {"", "ai.onnx"}))
    boxes, scores = surgery.split(graph.output[0].name, (4, classes))
    if len(wanted) < classes:
        scores = surgery.only_best_of(scores, wanted, classes)
    surgery.detect(boxes, scores, score_threshold=levels.pop(), iou_threshold=iou, max_output_boxes=most)
    graph.node.extend(surgery.nodes)
    graph.initializer.extend(surgery.constants)
    del graph.output[:]
    for name, kind, shape in (
        ("num_dets", TensorProto.INT32, (1,)),
        ("det_boxes", TensorProto.FLOAT, (most, 4)),
        ("det_scores", TensorProto.FLOAT, (most,)),
        ("det_classes", TensorProto.INT32, (most,)),
    ):
        graph.output.append(helper.make_tensor_value_info(name, kind, [1, *shape]))
    _fix_batch(graph)
    extended.opset_import.append(helper.make_opsetid("TRT", 1))
    return extended


def _fix_batch(graph: GraphProto) -> None:
    """Make the batch 1: trtutils takes memory for the shapes that the engine names, which must be numbers."""
    for tensor in graph.input:
        tensor.type.tensor_type.shape.dim[0].dim_value = 1
    del graph.value_info[:]


class Surgery:
    """Nodes and constants that are appended to a graph."""

    def __init__(self, opset: int) -> None:
        self._opset = opset
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def split(self, tensor: str, sizes: Sequence[int]) -> list[str]:
        """Split a tensor along its second axis; a part of size 0 is an empty name."""
        outputs = [f"{self._name('part')}_{number}" if size else "" for number, size in enumerate(sizes)]
        lengths = self._constant(np.array([size for size in sizes if size], np.int64))
        inputs, parts = [tensor, lengths], [name for name in outputs if name]
        self.nodes.append(helper.make_node("Split", inputs, parts, self._name("Split"), axis=1))
        return outputs

    def only_best_of(self, scores: str, wanted: Sequence[int], classes: int) -> str:
        """Return [B, classes, anchors] scores that are zero but in the boxes' best classes, if wanted."""
        kept = ""
        for row in wanted:
            before, own, after = self.split(scores, (row, 1, classes - row - 1))
            conditions = [self._op("Greater", own, self._greatest(before))] if before else []
            if after:
                conditions.append(self._op("Not", self._op("Less", own, self._greatest(after))))
            best = conditions[0] if len(conditions) == 1 else self._op("And", *conditions)
            zero = self._constant(np.zeros((1, 1, 1), np.float32))
            place = self._constant(np.eye(classes, dtype=np.float32)[row].reshape(1, classes, 1))
            placed = self._op("Mul", self._op("Where", best, own, zero), place)
            kept = self._op("Add", kept, placed) if kept else placed
        return kept

    def detect(self, boxes: str, scores: str, **settings: float) -> None:
        """Append the plugin; boxes are centers and sizes."""
        inputs = [self._op("Transpose", tensor, perm=[0, 2, 1]) for tensor in (boxes, scores)]
        outputs = ["num_dets", "det_boxes", "det_scores", "det_classes"]
        plugin: dict[str, Any] = {
            "plugin_version": "1",
            "background_class": -1,
            "score_activation": 0,
            "box_coding": 1,
            **settings,
        }
        name = self._name("EfficientNMS")
        self.nodes.append(helper.make_node("EfficientNMS_TRT", inputs, outputs, name, domain="TRT", **plugin))

    def _greatest(self, scores: str) -> str:
        if self._opset < 18:
            return self._op("ReduceMax", scores, axes=[1], keepdims=1)
        return self._op("ReduceMax", scores, self._constant(np.array([1], np.int64)), keepdims=1)

    def _op(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = self._name(operator)
        self.nodes.append(helper.make_node(operator, inputs, [name + "_out"], name, **attributes))
        return name + "_out"

    def _constant(self, value: NDArray[Any]) -> str:
        name = f"{NMS}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def _name(self, operator: str) -> str:
        return f"{NMS}{operator}_{len(self.nodes)}"


def prepare_export(config: AppConfig, source: Path, target: Path) -> None:
    """Write the export that trtutils wants, with the classes and thresholds of a configuration."""
    section = config.postprocess
    labels = describe(config).labels
    if labels is None:
        raise EdgeAppError("the configuration does not name the model's classes (model.labels)")
    thresholds = class_thresholds(section, labels)
    model = append_nms(onnx.load(source), thresholds, section.iou_threshold, section.max_detections)
    onnx.checker.check_model(model)
    onnx.save(model, target)


def build_engine(source: Path, target: Path, timing_cache: Path | None, level: int) -> None:
    """Build an FP16 engine for batch 1 as edge_app does; its policy holds for what `NMS` did not add."""
    from edge_app.engine.compat import Builder
    from edge_app.engine.options import BuildOptions, Precision, Profile
    from edge_app.engine.precision.constraints import constrain_layers
    from edge_app.engine.precision.prepare import prepare
    from edge_app.gpu.describe import describe_device
    from edge_app.gpu.tensorrt_api import load_tensorrt

    describe_device()  # without a GPU that works TensorRT 8.6 crashes where this says what is wrong
    trt = load_tensorrt()
    api = Builder(trt, trt.Logger(trt.Logger.WARNING))
    trt.init_libnvinfer_plugins(api.logger, "")
    graph = prepare(source, Precision.FP16, strongly_typed=api.strongly_typed)
    builder = trt.Builder(api.logger)
    network = api.create_network(builder)
    parser = trt.OnnxParser(network, api.logger)
    if graph.content is None or not parser.parse(graph.content):
        faults = [str(parser.get_error(number)) for number in range(parser.num_errors)]
        raise EdgeAppError(f"TensorRT cannot read {source}: {'; '.join(faults)}")
    config = api.configure(builder, Precision.FP16, BuildOptions(optimization_level=level), None)
    # Plugins are handed cuBLAS and cuDNN, which nothing here needs, unless these sources are left out.
    own = (trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS)
    config.set_tactic_sources(sum(1 << int(source) for source in own))
    height, width = tuple(network.get_input(0).shape)[2:]
    api.add_profile(builder, config, network, Profile(width, height))
    kept = {name for name in graph.keep if not name.startswith(NMS)}
    constrain_layers(trt, network, kept, {node.name for node in graph.nodes})
    content = timing_cache.read_bytes() if timing_cache is not None else b""
    cache = api.use_timing_cache(config, content)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EdgeAppError(f"TensorRT could not build {source}: its log above says why")
    target.write_bytes(memoryview(plan))
    del cache, parser
