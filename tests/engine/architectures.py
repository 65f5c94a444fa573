"""YOLOv8n and YOLO11n as ONNX, written from their published descriptions, with random weights.

They have the operators and shapes that real exports have, so that the builder meets them in CI. Batch
normalisation is folded into the convolutions, as exporters do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 80
SIDE = 640
BINS = 16
"""Of the distribution that each side of a box is the mean of."""


class Network:
    """A graph in the making; every method adds nodes and returns the name of its output."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.parameters = 0

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"{operator}_{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, name=names[0], **attributes))
        return names[0]

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def conv(
        self, x: str, c1: int, c2: int, k: int = 1, s: int = 1, *, groups: int = 1, act: bool = True
    ) -> str:
        fan_in = c1 // groups * k * k
        weight = self._random.normal(0, (2 / fan_in) ** 0.5, (c2, c1 // groups, k, k))
        self.parameters += weight.size + c2
        pads = [k // 2] * 4
        out = self.node(
            "Conv",
            x,
            self.constant(weight),
            self.constant(np.zeros(c2)),
            kernel_shape=[k, k],
            strides=[s, s],
            pads=pads,
            group=groups,
        )
        return self.node("Mul", out, self.node("Sigmoid", out)) if act else out

    def concat(self, *inputs: str, axis: int = 1) -> str:
        return self.node("Concat", *inputs, axis=axis)

    def halves(self, x: str, c: int) -> tuple[str, str]:
        first = self.node("Split", x, self.constant([c, c], np.int64), outputs=2, axis=1)
        return first, f"{first[:-1]}1"

    def up(self, x: str) -> str:
        scales = self.constant([1, 1, 2, 2])
        return self.node("Resize", x, "", scales, mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric")  # fmt: skip

    def bottleneck(self, x: str, c: int, *, shortcut: bool, e: float) -> str:
        hidden = int(c * e)
        out = self.conv(self.conv(x, c, hidden, 3), hidden, c, 3)
        return self.node("Add", x, out) if shortcut else out

    def c3k(self, x: str, c: int, *, shortcut: bool) -> str:
        hidden = c // 2
        out = self.conv(x, c, hidden)
        for _ in range(2):
            out = self.bottleneck(out, hidden, shortcut=shortcut, e=1.0)
        return self.conv(self.concat(out, self.conv(x, c, hidden)), 2 * hidden, c)

    def c2f(self, x: str, c1: int, c2: int, n: int, *, shortcut: bool) -> str:
        c = c2 // 2
        parts = [*self.halves(self.conv(x, c1, 2 * c), c)]
        for _ in range(n):
            parts.append(self.bottleneck(parts[-1], c, shortcut=shortcut, e=1.0))
        return self.conv(self.concat(*parts), (2 + n) * c, c2)

    def c3k2(self, x: str, c1: int, c2: int, *, c3k: bool, e: float = 0.5) -> str:
        c = int(c2 * e)
        first, second = self.halves(self.conv(x, c1, 2 * c), c)
        inner = (
            self.c3k(second, c, shortcut=True) if c3k else self.bottleneck(second, c, shortcut=True, e=0.5)
        )
        return self.conv(self.concat(first, second, inner), 3 * c, c2)

    def sppf(self, x: str, c: int) -> str:
        pools = [self.conv(x, c, c // 2)]
        for _ in range(3):
            pools.append(
                self.node("MaxPool", pools[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2, 2, 2, 2])
            )
        return self.conv(self.concat(*pools), 2 * c, c)

    def c2psa(self, x: str, c: int) -> str:
        hidden = c // 2
        first, second = self.halves(self.conv(x, c, c), hidden)
        second = self.node("Add", second, self.attention(second, hidden))
        ffn = self.conv(self.conv(second, hidden, 2 * hidden), 2 * hidden, hidden, act=False)
        return self.conv(self.concat(first, self.node("Add", second, ffn)), c, c)

    def attention(self, x: str, c: int) -> str:
        heads, side = c // 64, SIDE // 32
        dim, key = c // heads, c // heads // 2
        qkv = self.conv(x, c, c + 2 * key * heads, act=False)
        apart = self.node("Reshape", qkv, self.constant([-1, heads, 2 * key + dim, side * side], np.int64))
        query = self.node("Split", apart, self.constant([key, key, dim], np.int64), outputs=3, axis=2)
        keys, values = f"{query[:-1]}1", f"{query[:-1]}2"
        scores = self.node("MatMul", self.node("Transpose", query, perm=[0, 1, 3, 2]), keys)
        weights = self.node("Softmax", self.node("Mul", scores, self.constant(key**-0.5)), axis=-1)
        found = self.node("MatMul", values, self.node("Transpose", weights, perm=[0, 1, 3, 2]))
        shape = self.constant([-1, c, side, side], np.int64)
        position = self.conv(self.node("Reshape", values, shape), c, c, 3, groups=c, act=False)
        return self.conv(self.node("Add", self.node("Reshape", found, shape), position), c, c, act=False)

    def detect(self, grids: Sequence[tuple[str, int]], *, depthwise: bool) -> str:
        """Boxes as cx, cy, w, h in pixels and a confidence for each class, (batch, 84, 8400)."""
        wide = max(16, grids[0][1] // 4, 4 * BINS)
        deep = max(grids[0][1], CLASSES)
        parts = []
        for x, c in grids:
            box = self.conv(self.conv(self.conv(x, c, wide, 3), wide, wide, 3), wide, 4 * BINS, act=False)
            if depthwise:
                score = self.conv(self.conv(x, c, c, 3, groups=c), c, deep)
                score = self.conv(self.conv(score, deep, deep, 3, groups=deep), deep, deep)
            else:
                score = self.conv(self.conv(x, c, deep, 3), deep, deep, 3)
            score = self.conv(score, deep, CLASSES, act=False)
            shape = self.constant([0, 4 * BINS + CLASSES, -1], np.int64)
            parts.append(self.node("Reshape", self.concat(box, score), shape))
        return self.boxes(self.concat(*parts, axis=2))

    def boxes(self, x: str) -> str:
        points = [
            (column + 0.5, row + 0.5, stride)
            for stride in (8, 16, 32)
            for row in range(SIDE // stride)
            for column in range(SIDE // stride)
        ]
        centers = np.array(points).T[:2][None]
        strides = np.array(points).T[2:][None]
        sizes = self.constant([4 * BINS, CLASSES], np.int64)
        raw = self.node("Split", x, sizes, outputs=2, axis=1)
        shape = self.constant([0, 4, BINS, len(points)], np.int64)
        bins = self.node("Transpose", self.node("Reshape", raw, shape), perm=[0, 2, 1, 3])
        weight = self.constant(np.arange(BINS).reshape(1, BINS, 1, 1))
        self.parameters += BINS
        sides = self.node("Conv", self.node("Softmax", bins, axis=1), weight, kernel_shape=[1, 1])
        flat = self.node("Reshape", sides, self.constant([0, 4, len(points)], np.int64))
        near, far = self.halves(flat, 2)
        anchors = self.constant(centers)
        top_left, bottom_right = self.node("Sub", anchors, near), self.node("Add", anchors, far)
        center = self.node("Mul", self.node("Add", top_left, bottom_right), self.constant(0.5))
        wh = self.node("Sub", bottom_right, top_left)
        scaled = self.node("Mul", self.concat(center, wh), self.constant(strides))
        return self.concat(scaled, self.node("Sigmoid", f"{raw[:-1]}1"))

    def model(self, output: str) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [output], ["output0"]))
        image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
        found = helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 4 + CLASSES, 8400])
        graph = helper.make_graph(self.nodes, "detector", [image], [found], initializer=self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        return model


def yolov8n() -> tuple[onnx.ModelProto, int]:
    """Return YOLOv8n and its number of parameters."""
    net = Network()
    x = net.conv(net.conv("images", 3, 16, 3, 2), 16, 32, 3, 2)
    x = net.conv(net.c2f(x, 32, 32, 1, shortcut=True), 32, 64, 3, 2)
    p3 = net.c2f(x, 64, 64, 2, shortcut=True)
    p4 = net.c2f(net.conv(p3, 64, 128, 3, 2), 128, 128, 2, shortcut=True)
    p5 = net.c2f(net.conv(p4, 128, 256, 3, 2), 256, 256, 1, shortcut=True)
    p5 = net.sppf(p5, 256)
    n4 = net.c2f(net.concat(net.up(p5), p4), 384, 128, 1, shortcut=False)
    n3 = net.c2f(net.concat(net.up(n4), p3), 192, 64, 1, shortcut=False)
    o4 = net.c2f(net.concat(net.conv(n3, 64, 64, 3, 2), n4), 192, 128, 1, shortcut=False)
    o5 = net.c2f(net.concat(net.conv(o4, 128, 128, 3, 2), p5), 384, 256, 1, shortcut=False)
    return net.model(net.detect([(n3, 64), (o4, 128), (o5, 256)], depthwise=False)), net.parameters


def yolo11n() -> tuple[onnx.ModelProto, int]:
    """Return YOLO11n and its number of parameters."""
    net = Network()
    x = net.conv(net.conv("images", 3, 16, 3, 2), 16, 32, 3, 2)
    x = net.conv(net.c3k2(x, 32, 64, c3k=False, e=0.25), 64, 64, 3, 2)
    p3 = net.c3k2(x, 64, 128, c3k=False, e=0.25)
    p4 = net.c3k2(net.conv(p3, 128, 128, 3, 2), 128, 128, c3k=True)
    p5 = net.c3k2(net.conv(p4, 128, 256, 3, 2), 256, 256, c3k=True)
    p5 = net.c2psa(net.sppf(p5, 256), 256)
    n4 = net.c3k2(net.concat(net.up(p5), p4), 384, 128, c3k=False)
    n3 = net.c3k2(net.concat(net.up(n4), p3), 256, 64, c3k=False)
    o4 = net.c3k2(net.concat(net.conv(n3, 64, 64, 3, 2), n4), 192, 128, c3k=False)
    o5 = net.c3k2(net.concat(net.conv(o4, 128, 128, 3, 2), p5), 384, 256, c3k=True)
    return net.model(net.detect([(n3, 64), (o4, 128), (o5, 256)], depthwise=True)), net.parameters
