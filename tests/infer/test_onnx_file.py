"""What a model's file says of its input, without a runtime."""

from pathlib import Path

import onnx
import pytest

from edge_app.config.models import ModelSection
from edge_app.errors import ModelError
from edge_app.infer.model import describe_model
from edge_app.infer.onnx_file import OnnxFacts, read_onnx
from tests.infer.conftest import MakeModel


def read(path: Path, **section: object) -> OnnxFacts:
    return read_onnx(describe_model(ModelSection.model_validate(section), path))


def test_input_and_batch_are_read(make_model: MakeModel) -> None:
    facts = read(make_model())
    assert (facts.spec.width, facts.spec.height, facts.batch) == (48, 32, None)
    assert read(make_model((2, 3, 32, 48))).batch == 2


def test_labels_come_from_the_metadata_unless_the_configuration_has_some(make_model: MakeModel) -> None:
    path = make_model()
    model = onnx.load(str(path))
    del model.metadata_props[:]
    onnx.save(model, str(path))
    assert read(path).labels is None
    onnx.helper.set_model_props(model, {"names": "{0: 'car', 1: 'dog'}"})
    onnx.save(model, str(path))
    assert read(path).labels == ("car", "dog")
    assert read(path, labels=("cat",)).labels == ("cat",)
    onnx.helper.set_model_props(model, {"names": "car and dog"})
    onnx.save(model, str(path))
    assert read(path).labels is None


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match=r"model\.onnx: not an ONNX model"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"one image input is expected, found none"):
        read(path)
