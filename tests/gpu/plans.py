"""Small networks as ONNX, and engines built from them on the spot with TensorRT's own builder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from edge_app.gpu.context import open_gpu
from edge_app.gpu.tensorrt_api import load_tensorrt, native_logger

Range = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""The least, the best and the greatest shape of an input."""

Tensor = tuple[str, int, "list[int | str | None]"]
"""Name, `TensorProto` type and axes of an input or output."""


def model_bytes(nodes: list[Any], inputs: list[Tensor], outputs: list[Tensor], *constants: Any) -> bytes:
    """Return an ONNX model."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(*tensor) for tensor in inputs],
        [helper.make_tensor_value_info(*tensor) for tensor in outputs],
        initializer=list(constants),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized


def double(
    dtype: int = TensorProto.FLOAT, *, computed_in: int | None = None, batch: int | str = "batch"
) -> bytes:
    """y = x + x for x (batch, 6); computed in another type where TensorRT cannot add in this one."""
    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    if computed_in is not None:
        nodes = [
            helper.make_node("Cast", ["x"], ["wide"], to=computed_in),
            helper.make_node("Add", ["wide", "wide"], ["sum"]),
            helper.make_node("Cast", ["sum"], ["y"], to=dtype),
        ]
    return model_bytes(nodes, [("x", dtype, [batch, 6])], [("y", dtype, [batch, 6])])


DOUBLE_RANGE: dict[str, Range] = {"x": ((1, 6), (3, 6), (8, 6))}


def nonzero(rows: int, columns: int) -> bytes:
    """y = the indices (2, N) of what is not zero in x (rows, columns): N depends on the data."""
    nodes = [helper.make_node("NonZero", ["x"], ["y"])]
    return model_bytes(
        nodes, [("x", TensorProto.FLOAT, [rows, columns])], [("y", TensorProto.INT64, [2, None])]
    )


def build_plan(
    model: bytes,
    ranges: Mapping[str, Range] | None = None,
    *,
    fp16: bool = False,
    sharing: bool = True,
    version_compatible: bool = False,
) -> bytes:
    """Return an engine for this GPU: the quickest build, without TF32, that the results can be compared.

    Like our own builder it adds a profile to a network of fixed shapes too: without one, TensorRT 8.6 logs
    an error when the context of a network with data-dependent outputs is made.
    """
    open_gpu()
    trt = load_tensorrt()
    builder = trt.Builder(native_logger())
    explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    network = builder.create_network(0 if explicit is None else 1 << int(explicit))
    parser = trt.OnnxParser(network, native_logger())
    if not parser.parse(model):
        raise AssertionError([parser.get_error(number).desc() for number in range(parser.num_errors)])
    config = builder.create_builder_config()
    config.builder_optimization_level = 0
    config.clear_flag(trt.BuilderFlag.TF32)
    if fp16 and hasattr(trt.BuilderFlag, "FP16"):
        config.set_flag(trt.BuilderFlag.FP16)
    if sharing and hasattr(trt.PreviewFeature, "PROFILE_SHARING_0806"):
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    if version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    profile = builder.create_optimization_profile()
    for name, shapes in (ranges or {}).items():
        profile.set_shape(name, *shapes)
    assert config.add_optimization_profile(profile) >= 0
    plan = builder.build_serialized_network(network, config)
    assert plan is not None
    return bytes(plan)


def write_plan(folder: Path, plan: bytes, name: str = "model.engine") -> Path:
    path = folder / name
    path.write_bytes(plan)
    return path
