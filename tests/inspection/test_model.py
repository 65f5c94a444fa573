"""What is told of a model, and what is said of a damaged one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edge_app.errors import ModelError
from edge_app.inspection.model import ModelInspection, inspect_model
from edge_app.inspection.text import model_text
from tests.inspection.conftest import Make, Save

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "demo.yaml"
COCO_LIKE = str({number: f"label{number}" for number in range(80)})


def test_the_shipped_model_is_told() -> None:
    found = inspect_model(DEMO)
    assert found.path == DEMO.with_name("demo.onnx")
    assert found.file_bytes == found.path.stat().st_size
    assert found.labels_from == "the model's description"
    assert [str(item) for item in found.facts.inputs] == ["images [batch, 3, 416, 416] float32"]
    assert [item.shape for item in found.facts.outputs] == [("batch", 4 + len(found.labels), 3549)]
    assert found.facts.opset <= 17
    assert found.facts.fault is None
    assert found.facts.precision == "fp32"
    assert 0.9 < found.facts.parameters.bytes / found.file_bytes < 1
    assert found.input is not None
    assert (found.input.width, found.input.height) == (416, 416)
    assert found.head.value == "yolov8"
    assert found.head.reason.startswith("chosen by the description")


def test_the_shipped_model_tells_itself_without_its_description() -> None:
    found, described = inspect_model(DEMO.with_name("demo.onnx")), inspect_model(DEMO)
    assert found.labels == described.labels
    assert found.labels_from == "the model's metadata"
    assert found.head.value == described.head.value
    assert found.head.reason.startswith("told by the outputs")
    assert found.sha256 == described.sha256


def detector(make: Make, *, labels: str | None = COCO_LIKE, size: Any = 640) -> Any:
    nodes = [
        helper.make_node("Identity", ["images"], ["unused"]),
        helper.make_node("Identity", ["c"], ["output0"]),
    ]
    return make(
        nodes,
        inputs={"images": ["batch", 3, size, size]},
        outputs={"output0": ["batch", 84, 8400]},
        constants={"c": np.zeros((1, 84, 8400), np.float32)},
        metadata={"names": labels} if labels else {},
    )


def test_the_head_is_told_with_its_reason(make: Make, save: Save) -> None:
    found = inspect_model(save(detector(make)))
    assert found.head.value == "yolov8"
    assert found.head.reason == "told by the outputs; it decodes [B, 84, 8400] (4 + 80 classes, 8400 anchors)"


def test_without_labels_no_head_is_told_and_the_reason_is(make: Make, save: Save) -> None:
    found = inspect_model(save(detector(make, labels=None)))
    assert found.labels == ()
    assert "neither a description nor the model's metadata" in found.labels_from
    assert found.head.value is None
    assert "does not name its classes" in found.head.reason


def test_labels_that_cannot_be_read_are_told(make: Make, save: Save) -> None:
    found = inspect_model(save(detector(make, labels="{0: 'person', 2: 'car'}")))
    assert found.labels == ()
    assert "without a gap" in found.labels_from


def test_an_output_that_no_head_decodes_is_told(make: Make, save: Save) -> None:
    found = inspect_model(save(make(metadata={"names": "['person']"})))
    assert found.head.value is None
    assert found.head.reason.startswith("no head fits the model's outputs. Found: output0 [?, 18432] float32")


def test_an_input_without_a_size_is_told(make: Make, save: Save) -> None:
    found = inspect_model(save(detector(make, size="side")))
    assert found.input is None
    assert "leaves its input width open" in str(found.input_problem)
    assert found.head.value is None


def test_the_description_gives_the_size(make: Make, save: Save, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["grid"], strides=[32, 32], kernel_shape=[32, 32]),
        helper.make_node("Reshape", ["grid", "flat"], ["output0"]),
    ]
    model = make(
        nodes,
        inputs={"images": ["batch", 3, "height", "width"]},
        outputs={"output0": ["batch", "rows", 6]},
        constants={"w": np.zeros((1800, 3, 32, 32), np.float32), "flat": np.array([0, 300, 6])},
    )
    save(model)
    description = tmp_path / "model.yaml"
    description.write_text("labels: [a, b]\nfile: model.onnx\ninput: {size: [32, 32]}\n")
    found = inspect_model(description)
    assert found.input is not None
    assert (found.input.width, found.input.height) == (32, 32)
    assert found.head.value == "end_to_end"
    assert [item.shape for item in found.facts.outputs] == [("batch", 300, 6)]


def test_several_inputs_are_told(make: Make, save: Save) -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["output0"])]
    model = make(nodes, inputs={"a": ["batch", 2], "b": ["batch", 2]}, outputs={"output0": ["batch", 2]})
    found = inspect_model(save(model))
    assert "one image input of 4 axes is expected, found a [batch, 2] float32, b" in str(found.input_problem)


def test_operators_are_counted_inside_of_control_flow_too(make: Make, save: Save) -> None:
    branch = helper.make_graph(
        [helper.make_node("Relu", ["images"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["batch", 3, 64, 96])],
    )
    nodes = [
        helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch),
        helper.make_node("Flatten", ["chosen"], ["output0"]),
    ]
    found = inspect_model(save(make(nodes, constants={"yes": np.array(True)})))
    assert found.facts.operators == {"Relu": 2, "Flatten": 1, "If": 1}


@pytest.mark.parametrize(
    ("dtypes", "precision"),
    [
        ([np.float32], "fp32"),
        ([np.float16], "fp16"),
        ([np.float16, np.float16, np.float16, np.float32], "mixed: fp16 75.0%, fp32 25.0%"),
        ([np.int64], "no weights"),
    ],
)
def test_precision_is_that_of_the_weights(make: Make, save: Save, dtypes: list[type], precision: str) -> None:
    constants: dict[str, Any] = {f"w{index}": np.ones((2, 5), dtype) for index, dtype in enumerate(dtypes)}
    facts = inspect_model(save(make(constants=constants))).facts
    assert facts.precision == precision
    assert sum(amount.count for amount in facts.constants.values()) == 10 * len(dtypes)
    assert facts.parameters.bytes == sum(
        10 * np.dtype(dtype).itemsize for dtype in dtypes if dtype is not np.int64
    )


def test_external_data_is_listed_and_missed(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = make(constants={"w": np.ones(3000, np.float32)})
    onnx.save_model(model, str(path), save_as_external_data=True, location="model.data", size_threshold=0)
    assert inspect_model(path).facts.external == {"model.data": 12000}
    (tmp_path / "model.data").unlink()
    found = inspect_model(path)
    assert found.facts.external == {"model.data": None}
    assert any("model.data are missing" in warning for warning in found.warnings)
    assert found.facts.parameters.count == 3000


def test_what_the_checker_says_is_told(make: Make, save: Save) -> None:
    found = inspect_model(save(make([helper.make_node("Relu", ["nowhere"], ["output0"])])))
    assert found.facts.fault is not None
    assert any("ONNX's own checker refuses the model" in warning for warning in found.warnings)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08", b"\xff" * 100])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not an ONNX model"):
        inspect_model(path)


def test_no_prefix_of_a_model_passes_for_it(make: Make, save: Save) -> None:
    """A truncated download is refused, or at least not valid."""
    path = save(make(constants={"w": np.ones(50, np.float32)}))
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        try:
            found = inspect_model(path)
        except ModelError:
            continue
        assert found.facts.fault is not None, length


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file"):
        inspect_model(tmp_path / "none.onnx")


def test_a_model_that_is_not_the_described_one_is_refused(make: Make, save: Save, tmp_path: Path) -> None:
    save(make())
    description = tmp_path / "model.yaml"
    description.write_text(f"file: model.onnx\nsha256: {'0' * 64}\n")
    with pytest.raises(ModelError, match="SHA-256 is"):
        inspect_model(description)


def test_json_is_plain_and_complete() -> None:
    found = inspect_model(DEMO)
    values = json.loads(json.dumps(found.to_json()))
    assert values["kind"] == "model"
    assert values["input"]["layout"] == "nchw"
    assert values["facts"]["parameters"]["count"] == found.facts.parameters.count
    assert set(values) == {"kind", *ModelInspection.__dataclass_fields__}


def test_the_text_has_every_fact_once() -> None:
    lines = list(model_text(inspect_model(DEMO)))
    headings = [line[2:13].strip() for line in lines[1:] if line[2:13].strip()]
    assert headings == [
        "file", "format", "producer", "inputs", "outputs", "operators", "parameters", "precision", "labels",
        "used as", "head", "TensorRT",
    ]  # fmt: skip
