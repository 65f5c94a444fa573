"""Modules become ONNX models that are what they were, or nothing."""

import ast
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edge_app.export.errors import ExportError
from edge_app.export.module import ExportOptions, export_module
from tests.export.conftest import Export


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_model(str(path)).graph.node)


def axes(value: onnx.ValueInfoProto) -> list[int | str]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def test_an_awkward_module_is_exported(zoo: Any, export: Export) -> None:
    report = export(zoo.Awkward())
    model = onnx.load_model(str(report.path))
    assert {item.name: axes(item) for item in (*model.graph.input, *model.graph.output)} == {
        "images": ["batch", 3, 64, 96],
        "boxes": ["batch", 3073, 5],
        "masks": ["batch", 16, 20, 20],
    }
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 17)]
    assert {(item.output, item.batch) for item in report.differences} == {
        ("boxes", 1), ("masks", 1), ("boxes", 3), ("masks", 3)
    }  # fmt: skip
    assert all(item.share <= item.limit == 1e-4 for item in report.differences)
    assert report.largest_difference < 1e-4
    assert report.nodes == sum(operators(report.path).values())
    assert report.nodes < report.traced_nodes / 2


def test_the_arithmetic_of_shapes_is_folded(zoo: Any, export: Export) -> None:
    """What is left makes zeros for a batch, and sizes whose scale is not exact in FP32 (20 of 32 x 48)."""
    report = export(zoo.Awkward())
    model = onnx.load_model(str(report.path))
    found = operators(report.path)
    assert {"Range", "Cast", "Expand", "Tile", "If", "Loop", "BatchNormalization"}.isdisjoint(found)
    constants = {item.name for item in model.graph.initializer}
    reshapes = [node for node in model.graph.node if node.op_type == "Reshape"]
    assert reshapes
    assert all(node.input[1] in constants for node in reshapes)
    nearest = next(node for node in model.graph.node if node.op_type == "Resize")
    scales = next(item for item in model.graph.initializer if item.name == nearest.input[2])
    assert onnx.numpy_helper.to_array(scales).tolist() == [1, 1, 2, 2]


def test_a_graph_can_be_left_as_it_is(zoo: Any, export: Export) -> None:
    report = export(zoo.Awkward(), simplify=False)
    assert report.nodes == report.traced_nodes


def test_the_runtime_gives_what_the_module_gives(zoo: Any, export: Export, torch: Any) -> None:
    """Apart from the export's own comparison: other images, another batch."""
    import onnxruntime

    module = zoo.Detector().eval()
    report = export(module)
    images = np.random.default_rng(7).random((5, 3, 64, 96), dtype=np.float32)
    session = onnxruntime.InferenceSession(str(report.path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images})
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    assert np.asarray(found).shape == (5, 6, 96 + 24 + 6)
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-5)


def test_labels_are_written_as_metadata(zoo: Any, export: Export) -> None:
    report = export(
        zoo.Detector(), labels=("it's", "car"), name="street", stride=16, metadata={"license": "Apache-2.0"}
    )
    model = onnx.load_model(str(report.path))
    found = {item.key: item.value for item in model.metadata_props}
    assert ast.literal_eval(found.pop("names")) == {0: "it's", 1: "car"}
    assert found == {
        "stride": "16",
        "task": "detect",
        "imgsz": "[64, 96]",
        "name": "street",
        "license": "Apache-2.0",
    }
    assert model.graph.name == "street"


def test_without_labels_there_is_no_metadata(zoo: Any, export: Export) -> None:
    model = onnx.load_model(str(export(zoo.Detector()).path))
    assert [item.key for item in model.metadata_props] == []
    assert model.graph.name == "model"


def test_nothing_tells_of_the_machine_that_exported(zoo: Any, export: Export) -> None:
    content = export(zoo.Awkward()).path.read_bytes()
    assert str(Path(__file__).parent).encode() not in content
    assert b"modules.py" not in content


def test_the_same_module_becomes_the_same_file(zoo: Any, export: Export) -> None:
    module = zoo.Awkward()
    first = export(module).sha256
    assert export(module).sha256 == first


def test_several_outputs_get_names(zoo: Any, export: Export) -> None:
    report = export(zoo.Nested())
    assert [(item.name, item.shape) for item in report.outputs] == [
        (f"output{index}", (None, 3)) for index in range(3)
    ]


def test_a_module_in_half_precision_and_in_training_is_exported_in_neither(zoo: Any, export: Export) -> None:
    report = export(zoo.Awkward().half().train())
    model = onnx.load_model(str(report.path))
    assert {item.data_type for item in model.graph.initializer} <= {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.INT64,
    }
    assert "Dropout" not in operators(report.path)


def test_large_weights_lie_in_one_file_beside_the_model(zoo: Any, export: Export, tmp_path: Path) -> None:
    report = export(zoo.Detector(), single_file_bytes=1000)
    assert report.data_path == tmp_path / "model.onnx.data"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    onnx.checker.check_model(str(report.path))


@pytest.mark.parametrize("opset", [13, 16, 17])
def test_older_opsets_can_be_chosen(zoo: Any, export: Export, opset: int) -> None:
    assert export(zoo.Awkward(), opset=opset).opset == opset


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("AlwaysDropping", "Dropout in training mode"),
        ("StaysInTraining", "stays in training mode after eval()"),
        ("FirstImageDecides", "differs from the module's by"),
        ("DataDependent", "only its first axis may follow the batch"),
        ("Infinite", "is not finite on random images"),
    ],
)
def test_what_cannot_be_right_is_refused(
    zoo: Any, export: Export, tmp_path: Path, name: str, words: str
) -> None:
    old = tmp_path / "model.onnx"
    old.write_bytes(b"the one before")
    with pytest.raises(ExportError) as caught:
        export(getattr(zoo, name)())
    assert words in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert old.read_bytes() == b"the one before"


def test_a_batch_that_became_a_constant_is_noticed(zoo: Any, export: Export) -> None:
    with pytest.raises(ExportError, match=r"with [13] images") as caught:
        export(zoo.FixedBatch(), simplify=False)
    assert "images.shape[0]" in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # newer versions advise against TorchScript
def test_control_flow_is_refused(zoo: Any, export: Export, torch: Any) -> None:
    with pytest.raises(ExportError, match="the graph has a If"):
        export(torch.jit.script(zoo.Scripted()))


def test_a_size_that_the_module_cannot_take_is_explained(export: Export, torch: Any) -> None:
    with pytest.raises(ExportError, match=r"cannot be run on images \[2, 3, 64, 96\]"):
        export(torch.nn.Conv2d(4, 1, 1))


def test_the_tolerance_decides(zoo: Any, export: Export) -> None:
    with pytest.raises(ExportError, match="differs from the module's"):
        export(zoo.Awkward(), tolerance=1e-12)


def test_an_opset_that_is_too_old_is_refused(zoo: Any, export: Export) -> None:
    with pytest.raises(ExportError, match="opset 8 is too old"):
        export(zoo.Detector(), opset=8)


def test_a_folder_that_is_not_there_is_refused(zoo: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="there is no such directory"):
        export_module(zoo.Detector(), tmp_path / "none" / "model.onnx", ExportOptions(64, 64))
