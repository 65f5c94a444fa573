"""Small ONNX models, made on the spot."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

SIZE = 64
OPSET = 17


def weights(name: str, shape: tuple[int, ...], seed: int) -> TensorProto:
    random = np.random.default_rng(seed)
    fan_in = max(1, int(np.prod(shape[1:])))
    return numpy_helper.from_array((random.standard_normal(shape) / fan_in**0.5).astype(np.float32), name)


def integers(name: str, values: list[int]) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def model_of(
    nodes: list[NodeProto],
    initializers: list[TensorProto],
    output: tuple[str, list[int | str]],
    channels: int = 3,
) -> ModelProto:
    """A model with the input `images`, [batch, channels, SIZE, SIZE]."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", channels, SIZE, SIZE])],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def silu(tensor: str, name: str) -> list[NodeProto]:
    return [
        helper.make_node("Sigmoid", [tensor], [f"{name}_s"], name=f"{name}/sigmoid"),
        helper.make_node("Mul", [tensor, f"{name}_s"], [name], name=f"{name}/mul"),
    ]


def detector(seed: int = 0) -> ModelProto:
    """An anchor-free detector: output [batch, 6, 256], cxcywh in pixels and two classes."""
    side, classes = SIZE // 4, 2
    anchors = side * side
    ys, xs = np.divmod(np.arange(anchors), side)
    grid = np.stack([xs, ys]).astype(np.float32)[None] + 0.5
    nodes = [
        helper.make_node("Conv", ["images", "w1", "b1"], ["c1"], name="stem", strides=[2, 2], pads=[1] * 4),
        *silu("c1", "a1"),
        helper.make_node("Conv", ["a1", "w2", "b2"], ["c2"], name="down", strides=[2, 2], pads=[1] * 4),
        *silu("c2", "a2"),
        helper.make_node("Conv", ["a2", "w3", "b3"], ["c3"], name="body", pads=[1] * 4),
        *silu("c3", "a3"),
        helper.make_node("Add", ["a2", "a3"], ["features"], name="residual"),
        helper.make_node("Conv", ["features", "w4", "b4"], ["raw"], name="head"),
        helper.make_node("Reshape", ["raw", "flat"], ["rows"], name="flatten"),
        helper.make_node("Split", ["rows", "parts"], ["xy", "wh", "logits"], name="split", axis=1),
        helper.make_node("Add", ["xy", "grid"], ["centres"], name="offsets"),
        helper.make_node("Exp", ["wh"], ["sides"], name="exp"),
        helper.make_node("Concat", ["centres", "sides"], ["cells"], name="join", axis=1),
        helper.make_node("Mul", ["cells", "stride"], ["boxes"], name="pixels"),
        helper.make_node("Sigmoid", ["logits"], ["confidences"], name="confidence"),
        helper.make_node("Concat", ["boxes", "confidences"], ["output0"], name="output", axis=1),
    ]
    initializers = [
        weights("w1", (16, 3, 3, 3), seed),
        weights("b1", (16,), seed + 1),
        weights("w2", (32, 16, 3, 3), seed + 2),
        weights("b2", (32,), seed + 3),
        weights("w3", (32, 32, 3, 3), seed + 4),
        weights("b3", (32,), seed + 5),
        weights("w4", (4 + classes, 32, 1, 1), seed + 6),
        weights("b4", (4 + classes,), seed + 7),
        integers("flat", [0, 4 + classes, anchors]),
        integers("parts", [2, 2, classes]),
        numpy_helper.from_array(grid, "grid"),
        numpy_helper.from_array(np.array(4.0, np.float32), "stride"),
    ]
    return model_of(nodes, initializers, ("output0", ["batch", 4 + classes, anchors]))


def save(model: ModelProto, path: Path) -> Path:
    onnx.save_model(model, str(path))
    return path


def images(count: int, seed: int = 0) -> NDArray[np.float32]:
    """(count, 3, SIZE, SIZE) float32 in 0..1."""
    return np.random.default_rng(seed).random((count, 3, SIZE, SIZE), dtype=np.float32)
