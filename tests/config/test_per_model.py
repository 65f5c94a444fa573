"""Several models in one configuration: what each inherits, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.config import InvalidConfigError, check_config, load_config, parse_config
from edge_app.config.models import AppConfig
from edge_app.config.per_model import cameras_by_model, config_of_model

TWO_MODELS = """\
inference: {max_batch: 8, batch_wait_ms: 2.5, device: 1}
engine: {precision: int8, calibration: {source: frames, frames: 64}}
postprocess: {confidence_threshold: 0.4, classes: [car]}
models:
  people:
    path: demo
    device: 2
    inference: {max_batch: 2}
    engine: {calibration: {frames: 32}}
    postprocess: {classes: [person]}
  plain: {path: demo}
camera_defaults: {model: people}
cameras:
  door: {uri: 'scene://street?seed=1'}
  yard: {uri: 'scene://street?seed=2', model: null}
  gate: {uri: 'scene://street?seed=3'}
  shed: {uri: 'scene://street?seed=4', model: plain, enabled: false}
"""


def parse(text: str, base: Path = Path("/nowhere")) -> AppConfig:
    return parse_config(text.encode(), file="edge.yaml", base=base)


def test_a_model_has_what_it_says_and_the_rest_from_the_sections_above() -> None:
    config = parse(TWO_MODELS, Path("/etc/edge"))
    people = config_of_model(config, "people")
    assert (people.model.path, people.inference.device) == ("demo", 2)
    assert (people.inference.max_batch, people.inference.batch_wait_ms) == (2, 2.5)
    assert people.engine.precision == "int8"
    assert (people.engine.calibration.source, people.engine.calibration.frames) == ("/etc/edge/frames", 32)
    assert people.postprocess.classes == ("person",)
    assert people.postprocess.confidence_threshold == 0.4
    assert config_of_model(config, "plain").inference == config.inference
    assert config_of_model(config, None) is config


def test_only_models_with_an_enabled_camera_are_used() -> None:
    assert cameras_by_model(parse(TWO_MODELS)) == {"people": ["door", "gate"], None: ["yard"]}


def test_the_summary_names_the_models_and_warns_of_one_that_nobody_uses(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(TWO_MODELS)
    said = check_config(path)
    assert "model     people: demo on GPU 2, on the CPU where there is no GPU" in said
    assert "camera    door: scene://street?seed=1, model people" in said
    assert "warning   models.plain: no camera names it, so it is not loaded" in said


@pytest.mark.parametrize(("backend", "where"), [("tensorrt", "on GPU 2"), ("onnxruntime", "on the CPU")])
def test_the_summary_says_where_a_model_runs(tmp_path: Path, backend: str, where: str) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(TWO_MODELS.replace("device: 1}", f"device: 1, backend: {backend}}}"))
    assert f"model     people: demo {where}" in check_config(path)


def test_paths_of_a_model_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "faces.onnx").touch()
    (tmp_path / "faces.txt").write_text("face\n")
    path = tmp_path / "edge.yaml"
    path.write_text("models: {faces: {path: faces.onnx, labels: faces.txt, engine: {directory: store}}}\n")
    faces = config_of_model(load_config(path).config, "faces")
    assert (faces.model.path, faces.model.labels) == (
        str(tmp_path / "faces.onnx"),
        str(tmp_path / "faces.txt"),
    )
    assert faces.engine.directory == str(tmp_path / "store")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("models:\n  people: {path: demo}\ncameras:\n  a: {uri: 'csi://0', model: peple}\n", 4, "people?"),
        ("models:\n  people: {path: demo}\ncamera_defaults: {model: dogs}\n", 3, "there are people"),
        ("cameras:\n  a: {uri: 'csi://0', model: dogs}\n", 2, "write it below models:"),
        ("models:\n  people: {device: 1}\n", 2, "path is missing"),
        ("models:\n  people: {path: absent.onnx}\n", 2, "models.people.path"),
        ("models:\n  people: demo\n", 2, "at least path: FILE.onnx"),
        ("models:\n  people: {path: demo, pth: 1}\n", 2, "pth"),
        (
            "models:\n  people:\n    path: demo\n    engine: {opt_batch: 9}\n",
            4,
            "more than inference.max_batch",
        ),
        ("models:\n  a b: {path: demo}\n", 2, "a-b"),
        (
            "models:\n  people:\n    path: demo\n    labels: [cat]\n    postprocess: {classes: [dog]}\n",
            5,
            "is no label",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(InvalidConfigError) as raised:
        parse(text)
    (problem,) = raised.value.problems
    assert problem.line == line
    assert words in str(problem)
