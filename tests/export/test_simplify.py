"""Shapes that are known become constants; needs no PyTorch."""

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edge_app.export.simplify import write_known_shapes


def model_of(nodes: list[NodeProto], **constants: list[int]) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 4, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def constant(model: ModelProto, name: str) -> list[float]:
    values: list[float] = next(
        numpy_helper.to_array(item).tolist() for item in model.graph.initializer if item.name == name
    )
    return values


def reshape(order: list[str], **constants: list[int]) -> ModelProto:
    """Reshape to the batch, read from the input, with constants around it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Concat", order, ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["y"]),
    ]
    return model_of(nodes, zero=[0], **constants)


@pytest.mark.parametrize(
    ("order", "shape"),
    [(["batch", "rest"], [-1, 8, 6]), (["rest", "batch"], [8, 6, -1])],
)
def test_a_reshape_gets_a_constant_shape(order: list[str], shape: list[int]) -> None:
    model = reshape(order, rest=[8, 6])
    assert write_known_shapes(model) == 1
    assert constant(model, model.graph.node[-1].input[1]) == shape
    images = np.arange(3 * 48, dtype=np.float32).reshape(3, 2, 4, 6)
    (found,) = ReferenceEvaluator(model).run(None, {"x": images})
    np.testing.assert_array_equal(found, images.reshape(shape))


def test_a_reshape_that_is_not_known_is_left() -> None:
    model = reshape(["batch", "batch", "rest"], rest=[-1])
    before = list(model.graph.node[-1].input)
    assert write_known_shapes(model) == 0
    assert list(model.graph.node[-1].input) == before


def resize(sizes: list[int]) -> ModelProto:
    nodes = [
        helper.make_node("Shape", ["x"], ["leading"], start=0, end=2),
        helper.make_node("Concat", ["leading", "wanted"], ["sizes"], axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest"),
    ]
    return model_of(nodes, wanted=sizes)


def test_a_resize_gets_scales() -> None:
    model = resize([8, 9])
    assert write_known_shapes(model) == 1
    node = model.graph.node[-1]
    assert len(node.input) == 3
    assert constant(model, node.input[2]) == [1, 1, 2, 1.5]


def test_a_resize_keeps_sizes_whose_scale_is_not_exact() -> None:
    """10/6 of 6 is not 10 in FP32, and a runtime may round it down to 9."""
    model = resize([8, 10])
    assert write_known_shapes(model) == 0
    assert model.graph.node[-1].input[3] == "sizes"
