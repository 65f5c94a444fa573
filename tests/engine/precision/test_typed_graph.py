"""The policy as types: what runs in FP16, what stays FP32, and that the results stay."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.shape_inference import infer_shapes

from edge_app.engine.errors import BuildError
from edge_app.engine.precision.graph import GraphIndex, load_model
from edge_app.engine.precision.policy import decode_nodes, plan_precision, summarize
from edge_app.engine.precision.typed_graph import to_half
from tests.engine.models import SIZE, detector, images, integers, model_of, save, weights

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
ROOT = Path(__file__).parents[3]


def run(model: ModelProto, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    result: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: batch})[0]
    return result


def prepared(model: ModelProto, folder: Path) -> ModelProto:
    return load_model(save(model, folder / "model.onnx"))


def half_nodes(model: ModelProto) -> set[str]:
    """The names of nodes that give FP16, casts left out."""
    index = GraphIndex(infer_shapes(model, strict_mode=True))
    return {
        node.name
        for node in index.nodes
        if node.op_type != "Cast" and index.element_type(node.output[0]) == TensorProto.FLOAT16
    }


def test_the_body_runs_in_half_and_the_decode_does_not(tmp_path: Path) -> None:
    model = prepared(detector(), tmp_path)
    typed = to_half(model)
    body = {"stem", "down", "body", "residual", "head"}
    body |= {f"a{i}/{part}" for i in (1, 2, 3) for part in ("sigmoid", "mul")}
    assert half_nodes(typed) == body
    assert [(v.name, v.type.tensor_type.elem_type) for v in (*typed.graph.input, *typed.graph.output)] == [
        ("images", TensorProto.FLOAT),
        ("output0", TensorProto.FLOAT),
    ]
    casts = [node for node in typed.graph.node if node.op_type == "Cast"]
    assert len(casts) == 2, "one cast into FP16 and one back"


def test_results_stay(tmp_path: Path) -> None:
    model = prepared(detector(), tmp_path)
    batch = images(3)
    expected, found = run(model, batch), run(to_half(model), batch)
    assert expected.shape == found.shape
    assert not np.array_equal(expected, found)
    np.testing.assert_allclose(found, expected, atol=0.02, rtol=0.01)


def test_the_model_given_is_not_changed(tmp_path: Path) -> None:
    model = prepared(detector(), tmp_path)
    before = model.SerializeToString(deterministic=True)
    to_half(model)
    assert model.SerializeToString(deterministic=True) == before


def convolution(tensor: str, name: str, output: str) -> onnx.NodeProto:
    return helper.make_node("Conv", [tensor, f"{name}_w"], [output], name=name, pads=[1] * 4)


def test_the_table_keeps_its_operators_in_fp32(tmp_path: Path) -> None:
    nodes = [
        convolution("images", "first", "a"),
        helper.make_node("Softmax", ["a"], ["b"], name="softmax", axis=1),
        helper.make_node("ReduceMean", ["b"], ["mean"], name="mean", axes=[1], keepdims=1),
        helper.make_node("Sub", ["b", "mean"], ["centred"], name="centre"),
        helper.make_node("Mul", ["centred", "centred"], ["squares"], name="square"),
        helper.make_node("ReduceMean", ["squares"], ["variance"], name="variance", axes=[1], keepdims=1),
        helper.make_node("Add", ["variance", "epsilon"], ["safe"], name="epsilon_add"),
        helper.make_node("Sqrt", ["safe"], ["deviation"], name="sqrt"),
        helper.make_node("Div", ["centred", "deviation"], ["normal"], name="divide"),
        helper.make_node("Mul", ["normal", "gain"], ["scaled"], name="gain_mul"),
        convolution("scaled", "last", "out"),
    ]
    constants = [
        weights("first_w", (8, 3, 3, 3), 0),
        weights("last_w", (8, 8, 3, 3), 1),
        numpy_helper.from_array(np.float32(1e-7), "epsilon"),
        numpy_helper.from_array(np.full((1, 8, 1, 1), 1.5, np.float32), "gain"),
    ]
    model = prepared(model_of(nodes, constants, ("out", ["batch", 8, SIZE, SIZE])), tmp_path)
    typed = to_half(model)
    assert half_nodes(typed) == {"first", "gain_mul", "last"}
    np.testing.assert_allclose(run(typed, images(1)), run(model, images(1)), atol=0.02, rtol=0.02)


def test_shapes_are_not_calculated_in_half(tmp_path: Path) -> None:
    """A resize to 1.25 of a size that the graph reads: 2049 pixels would not be a number of FP16."""
    nodes = [
        convolution("images", "first", "a"),
        helper.make_node("Shape", ["a"], ["shape"], name="shape"),
        helper.make_node("Cast", ["shape"], ["lengths"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["lengths", "factors"], ["wanted"], name="scale"),
        helper.make_node("Div", ["wanted", "lengths"], ["scales"], name="ratio"),
        helper.make_node("Resize", ["a", "", "scales"], ["bigger"], name="resize", mode="nearest"),
        convolution("bigger", "last", "out"),
    ]
    constants = [
        weights("first_w", (8, 3, 3, 3), 0),
        weights("last_w", (8, 8, 3, 3), 1),
        numpy_helper.from_array(np.array([1, 1, 1.25, 1.25], np.float32), "factors"),
    ]
    model = prepared(model_of(nodes, constants, ("out", ["batch", 8, 80, 80])), tmp_path)
    typed = to_half(model)
    assert half_nodes(typed) == {"first", "resize", "last"}
    np.testing.assert_allclose(run(typed, images(2)), run(model, images(2)), atol=0.02, rtol=0.02)


def test_bodies_of_control_flow_keep_what_they_capture(tmp_path: Path) -> None:
    def branch(name: str, operator: str) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(operator, ["a"], [f"{name}_out"])], name, [], [output])

    nodes = [
        convolution("images", "first", "a"),
        helper.make_node("ReduceMax", ["a"], ["most"], name="most", keepdims=0),
        helper.make_node("Greater", ["most", "limit"], ["large"], name="greater"),
        helper.make_node(
            "If", ["large"], ["b"], name="if", then_branch=branch("x", "Relu"), else_branch=branch("y", "Abs")
        ),
        convolution("b", "last", "out"),
    ]
    constants = [
        weights("first_w", (8, 3, 3, 3), 0),
        weights("last_w", (8, 8, 3, 3), 1),
        numpy_helper.from_array(np.float32(0.1), "limit"),
    ]
    model = prepared(model_of(nodes, constants, ("out", ["batch", 8, SIZE, SIZE])), tmp_path)
    typed = to_half(model)
    assert {"first", "last"} <= half_nodes(typed)
    np.testing.assert_allclose(run(typed, images(1)), run(model, images(1)), atol=0.02, rtol=0.02)


def test_weights_that_half_cannot_hold_keep_their_layer(tmp_path: Path) -> None:
    model = detector()
    name = "w3"
    index = next(i for i, item in enumerate(model.graph.initializer) if item.name == name)
    large = numpy_helper.to_array(model.graph.initializer[index]).copy()
    large.flat[0] = 1e6
    model.graph.initializer[index].CopyFrom(numpy_helper.from_array(large, name))
    model = prepared(model, tmp_path)
    plan = plan_precision(GraphIndex(model))
    assert plan.keep["body"] == "has weights or scales beyond the range of FP16"
    assert "body" not in half_nodes(to_half(model))


def test_a_huge_constant_stays_finite_and_infinity_stays_infinite(tmp_path: Path) -> None:
    nodes = [
        convolution("images", "first", "a"),
        helper.make_node("Clip", ["a", "least", "most"], ["b"], name="clip"),
        helper.make_node("Min", ["b", "infinity"], ["c"], name="min"),
        convolution("c", "last", "out"),
    ]
    constants = [
        weights("first_w", (8, 3, 3, 3), 0),
        weights("last_w", (8, 8, 3, 3), 1),
        numpy_helper.from_array(np.float32(-3e38), "least"),
        numpy_helper.from_array(np.float32(3e38), "most"),
        numpy_helper.from_array(np.float32(np.inf), "infinity"),
    ]
    model = prepared(model_of(nodes, constants, ("out", ["batch", 8, SIZE, SIZE])), tmp_path)
    typed = to_half(model)
    values = {item.name: numpy_helper.to_array(item) for item in typed.graph.initializer}
    assert values["most/fp16"] == 65504
    assert values["infinity/fp16"] == np.inf
    np.testing.assert_allclose(run(typed, images(1)), run(model, images(1)), atol=0.02, rtol=0.02)


def test_the_expectation_of_a_distribution_belongs_to_the_decode(tmp_path: Path) -> None:
    """The head of YOLOv8: a softmax over 16 bins, and a Conv of 16 weights that takes the mean."""
    side = SIZE
    nodes = [
        convolution("images", "body", "a"),
        helper.make_node("Relu", ["a"], ["relu"], name="relu"),
        convolution("relu", "sides", "b"),
        helper.make_node("Reshape", ["b", "bins"], ["c"], name="reshape"),
        helper.make_node("Softmax", ["c"], ["d"], name="softmax", axis=1),
        helper.make_node("Conv", ["d", "mean_w"], ["out"], name="mean"),
    ]
    constants = [
        weights("body_w", (16, 3, 3, 3), 0),
        weights("sides_w", (64, 16, 3, 3), 1),
        integers("bins", [0, 16, 4, side * side]),
        numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1), "mean_w"),
    ]
    model = prepared(model_of(nodes, constants, ("out", ["batch", 1, 4, side * side])), tmp_path)
    decode, last_layers = decode_nodes(GraphIndex(model))
    assert decode == {"mean", "softmax", "reshape"}
    assert last_layers == {"sides"}


def test_the_demo_model_keeps_its_decode_and_its_results() -> None:
    model = load_model(ROOT / "models" / "demo.onnx")
    index = GraphIndex(model)
    plan = plan_precision(index)
    kept = {index.node(name).op_type for name in plan.keep}
    assert "Conv" not in kept
    assert {index.node(name).op_type for name in plan.last_layers} == {"Conv"}
    assert all("FP32 (" in line for line in summarize(plan.keep, index))
    batch = np.random.default_rng(0).random((1, 3, 416, 416), dtype=np.float32)
    expected, found = run(model, batch), run(to_half(model, plan), batch)
    np.testing.assert_allclose(found[:, 4:], expected[:, 4:], atol=0.01)


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x08\x08\x12"])
def test_what_is_no_model_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(BuildError, match="not a complete ONNX model"):
        GraphIndex(load_model(path))


def test_missing_external_data_is_told(tmp_path: Path) -> None:
    path = tmp_path / "big.onnx"
    onnx.save_model(detector(), str(path), save_as_external_data=True, location="big.data", size_threshold=64)
    (tmp_path / "big.data").unlink()
    with pytest.raises(BuildError, match=r"big\.data.*Copy every file|Copy every file|copy every file"):
        load_model(path)
