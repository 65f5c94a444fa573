"""The demo model at a smaller input, so that a soak of eight cameras leaves the machine to others.

The network is convolutional: only constants know its size: middles and strides of cells, and the shapes into
which each head's output is laid flat.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import numpy_helper

from edge_app.config.resources import demo_description

STRIDES = (8, 16, 32)


def small_model(folder: Path, side_px: int = 192) -> Path:
    """Write the demo model for square inputs of `side_px`; return its description, for `model.path`."""
    described = yaml.safe_load(demo_description().read_bytes())
    model = onnx.load(str(demo_description().with_name(described["file"])))
    grids = [np.divmod(np.arange((side_px // stride) ** 2), side_px // stride) for stride in STRIDES]
    middles = np.concatenate(
        [(np.stack([xs, ys]) + 0.5) * s for (ys, xs), s in zip(grids, STRIDES, strict=True)], 1
    )
    strides = np.concatenate([np.full((1, len(ys)), s) for (ys, _), s in zip(grids, STRIDES, strict=True)], 1)
    constants = {"middles": middles[None], "strides": strides[None]}
    for tensor in model.graph.initializer:
        if tensor.name in constants:
            tensor.CopyFrom(numpy_helper.from_array(constants[tensor.name].astype(np.float32), tensor.name))
    _flatten_to(model, [len(ys) for ys, _ in grids])
    for place in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_value = side_px
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = middles.shape[1]
    del model.graph.value_info[:]
    path = folder / "small.onnx"
    onnx.save(model, str(path))
    described |= {"name": "small", "file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    described["input"]["size"] = [side_px, side_px]
    description = folder / "small.yaml"
    description.write_text(yaml.safe_dump(described))
    return description


def _flatten_to(model: onnx.ModelProto, cells: list[int]) -> None:
    """Set how many cells each head's output has; heads stand in the order of their strides."""
    constants = {node.output[0]: node for node in model.graph.node if node.op_type == "Constant"}
    shapes = [constants[node.input[1]] for node in model.graph.node if node.op_type == "Reshape"]
    for node, count in zip(shapes, cells, strict=True):
        shape = numpy_helper.to_array(node.attribute[0].t).copy()
        shape[2] = count
        node.attribute[0].t.CopyFrom(numpy_helper.from_array(shape))
