"""INT8 by Q/DQ: where the pairs stand, and that TensorRT's conditions hold."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper

from edge_app.engine.errors import BuildError, EngineError
from edge_app.engine.options import CalibrationMethod, Precision
from edge_app.engine.precision.graph import GraphIndex, load_model
from edge_app.engine.precision.prepare import prepare
from edge_app.engine.precision.quantize import collect_calibration, hash_calibration, quantize
from tests.engine.models import SIZE, images, integers, model_of, save, weights

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")


@pytest.fixture
def quantized(model: Path, tmp_path: Path) -> Path:
    target = tmp_path / "quantized.onnx"
    quantize(model, images(16), CalibrationMethod.MINMAX, target)
    return target


def run(content: bytes, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run(None, {"images": batch})[0]
    return result


def consumers(graph: GraphIndex, tensor: str) -> set[str]:
    return {node.op_type for node in graph.nodes if tensor in node.input}


def test_pairs_stand_before_layers_and_nowhere_else(quantized: Path) -> None:
    graph = GraphIndex(load_model(quantized))
    for name in ("stem", "down", "body"):
        data, weight, bias = graph.node(name).input
        for tensor in (data, weight):
            producer = graph.producer(tensor)
            assert producer is not None
            assert producer.op_type == "DequantizeLinear"
        assert graph.constant(bias) is not None, "the bias stays FP32"
    assert graph.constant(graph.node("head").input[1]) is not None, "the head is not quantised"
    for node in graph.nodes:
        if node.op_type == "QuantizeLinear":
            assert consumers(graph, node.output[0]) == {"DequantizeLinear"}
    assert len([node for node in graph.nodes if node.op_type == "QuantizeLinear"]) == 6


def test_scales_are_symmetric_and_weights_have_one_for_each_channel(quantized: Path) -> None:
    graph = GraphIndex(load_model(quantized))
    for node in graph.nodes:
        if node.op_type != "QuantizeLinear":
            continue
        zero_point, scale = graph.constant(node.input[2]), graph.constant(node.input[1])
        assert zero_point is not None
        assert scale is not None
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
        weight = graph.constant(node.input[0])
        assert scale.size == (1 if weight is None else len(weight))


@pytest.mark.parametrize("method", CalibrationMethod)
@pytest.mark.parametrize("count", [1, 7, 12])
def test_every_method_and_count_calibrates(
    model: Path, tmp_path: Path, method: CalibrationMethod, count: int
) -> None:
    target = tmp_path / "quantized.onnx"
    excluded = quantize(model, images(count), method, target)
    assert "head" in excluded
    batch = images(2, seed=9)
    expected, found = run(model.read_bytes(), batch), run(target.read_bytes(), batch)
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.9999
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp-")] == []


def test_where_types_are_strong_the_rest_is_half_and_results_stay(quantized: Path) -> None:
    weak = prepare(quantized, Precision.INT8, strongly_typed=False)
    strong = prepare(quantized, Precision.INT8, strongly_typed=True)
    assert weak.content is not None
    assert strong.content is not None
    assert weak.keep
    assert not strong.keep
    graph = GraphIndex(load_model_bytes(strong.content, quantized.parent))
    operators = [node.op_type for node in graph.nodes]
    assert operators.count("Cast") == 2, "no cast stands beside a Q/DQ pair"
    batch = images(2, seed=9)
    expected, found = run(weak.content, batch), run(strong.content, batch)
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.9999


def load_model_bytes(content: bytes, folder: Path) -> ModelProto:
    path = folder / "strong.onnx"
    path.write_bytes(content)
    return load_model(path)


def test_products_with_constant_weights_are_quantised_and_others_are_not(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["images", "stem_w"], ["a"], name="stem", strides=[8, 8]),
        helper.make_node("Reshape", ["a", "flat"], ["b"], name="flatten"),
        helper.make_node("MatMul", ["b", "inner_w"], ["c"], name="inner"),
        helper.make_node("Transpose", ["c"], ["d"], name="transpose", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["c", "d"], ["e"], name="attention"),
        helper.make_node("MatMul", ["e", "last_w"], ["out"], name="last"),
    ]
    constants = [
        weights("stem_w", (8, 3, 8, 8), 0),
        integers("flat", [0, 8, 64]),
        weights("inner_w", (64, 32), 1),
        weights("last_w", (8, 16), 2),
    ]
    path = save(model_of(nodes, constants, ("out", ["batch", 8, 16])), tmp_path / "model.onnx")
    target = tmp_path / "quantized.onnx"
    assert quantize(path, images(4), CalibrationMethod.MINMAX, target) == ["attention", "last"]
    graph = GraphIndex(load_model(target))
    sources = {
        name: {getattr(graph.producer(tensor), "op_type", None) for tensor in graph.node(name).input}
        for name in ("stem", "inner", "attention", "last")
    }
    assert sources["stem"] == sources["inner"] == {"DequantizeLinear"}
    assert "DequantizeLinear" not in sources["attention"] | sources["last"]


def test_a_fixed_batch_is_calibrated_with_full_batches(model: Path, tmp_path: Path) -> None:
    fixed = load_model(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_value = 4
    del fixed.graph.value_info[:]
    path = save(fixed, tmp_path / "fixed.onnx")
    quantize(path, images(2), CalibrationMethod.MINMAX, tmp_path / "quantized.onnx")
    assert run((tmp_path / "quantized.onnx").read_bytes(), images(4)).shape[0] == 4


def test_a_model_without_pairs_needs_frames(model: Path) -> None:
    with pytest.raises(BuildError, match=r"no Q/DQ, and INT8 needs calibration frames.*--calibrate"):
        prepare(model, Precision.INT8, strongly_typed=True)


def test_the_calibration_set_is_what_the_pipeline_would_see(tmp_path: Path) -> None:
    frames = [np.full((2, 2, 3), value, np.uint8) for value in (1, 2, 3)]

    def preprocess(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        planes: NDArray[np.float32] = frame.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        return planes

    path = tmp_path / "frames.npy"
    sha256 = collect_calibration(iter(frames), preprocess, 2, path)
    stored = np.load(path)
    assert stored.shape == (2, 3, 2, 2)
    np.testing.assert_allclose(stored[:, 0, 0, 0], [1 / 255, 2 / 255])
    assert sha256 == hash_calibration(stored)
    assert sha256 != collect_calibration(iter(frames[::-1]), preprocess, 2, path)
    assert collect_calibration(iter(frames), preprocess, 2, path) == sha256
    with pytest.raises(EngineError, match="no frame to calibrate with"):
        collect_calibration([], preprocess, 2, path)


def test_the_hash_depends_on_the_shape() -> None:
    flat = np.zeros((1, 3, SIZE, SIZE), np.float32)
    assert hash_calibration(flat) != hash_calibration(flat.reshape(3, 1, SIZE, SIZE))


def test_pairs_of_the_model_itself_are_taken(quantized: Path) -> None:
    prepared = prepare(quantized, Precision.INT8, strongly_typed=False)
    assert any(node.op_type == "QuantizeLinear" for node in prepared.nodes)
    assert any("decodes the head" in note for note in prepared.notes)
