"""What is known of a model before it runs, and what is said when something is wrong."""

import hashlib
import os
from pathlib import Path

import pytest

from edge_app.config.labels import known_labels
from edge_app.config.models import InputOverrides, ModelSection
from edge_app.errors import EXIT_CONFIG, ModelError
from edge_app.geometry import Color, Layout
from edge_app.infer.input_spec import resolve_input_spec
from edge_app.infer.model import describe_model
from edge_app.infer.onnx_file import read_onnx
from tests.infer.conftest import MakeModel


def write_yaml(folder: Path, text: str) -> Path:
    path = folder / "model.yaml"
    path.write_text(text)
    return path


def test_an_onnx_file_alone_is_a_model(make_model: MakeModel) -> None:
    path = make_model()
    described = describe_model(ModelSection(), path)
    assert described.name == "model"
    assert described.path == path
    assert described.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert described.labels is None
    assert described.head == "auto"


def test_a_description_says_what_the_file_cannot(make_model: MakeModel) -> None:
    path = make_model()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    yaml = write_yaml(
        path.parent,
        f"name: street\nfile: model.onnx\nsha256: {sha256}\nlabels: [person, car]\nhead: yolov8\n"
        "input: {size: [48, 32], color: bgr, mean: [1, 2, 3]}\n",
    )
    described = describe_model(ModelSection(), yaml)
    assert (described.name, described.labels, described.head) == ("street", ("person", "car"), "yolov8")
    spec = resolve_input_spec(described, (None, 3, 32, 48))
    assert (spec.width, spec.height, spec.color, spec.mean) == (48, 32, Color.BGR, (1, 2, 3))


def test_the_configuration_wins_over_the_description(make_model: MakeModel) -> None:
    path = make_model()
    labels = path.parent / "labels.txt"
    labels.write_text("cat\n\n dog \n")
    yaml = write_yaml(
        path.parent, "file: model.onnx\nlabels: [person]\nhead: yolov8\ninput: {pad_value: 0}\n"
    )
    section = ModelSection(labels=str(labels), head="end_to_end", input=InputOverrides(pad_value=9))
    described = describe_model(section, yaml)
    assert (described.labels, described.head, described.input.pad_value) == (("cat", "dog"), "end_to_end", 9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "a model description is a mapping, found list"),
        ("name: [unclosed\n", r"not a model description: line 1: a \[list\] or \{section\} is opened"),
        ("file: model.onnx\nlables: [a]\n", "unknown key 'lables'. Hint: Known are figures, file, head"),
        ("file: model.onnx\nlabels: person\n", "labels must be a list of names, found 'person'"),
        ("file: model.onnx\ninput: {size: 640}\n", "input.size must be \\[width, height\\], found 640"),
        (
            "file: model.onnx\ninput: {colour: rgb}\n",
            "input cannot be understood: colour: Extra inputs are not",
        ),
        (
            "file: model.onnx\ninput: {size: [0, 64], scale: x}\n",
            "cannot be understood: width: Input should be greater than or equal to 32; scale: Input",
        ),
        ("file: model.onnx\ninput: [640, 640]\n", r"input must be a mapping, .* found \[640, 640\]"),
        ("file: gone.onnx\n", "gone.onnx: there is no such model file. Hint: Check model.path."),
        ("file: model.onnx\nsha256: abcdef123456789\n", "SHA-256 is .*, but model.yaml says abcdef123456"),
    ],
)
def test_a_bad_description_is_explained(make_model: MakeModel, text: str, message: str) -> None:
    yaml = write_yaml(make_model().parent, text)
    with pytest.raises(ModelError, match=message) as raised:
        describe_model(ModelSection(), yaml)
    assert raised.value.exit_status == EXIT_CONFIG


@pytest.mark.parametrize(
    "text",
    [
        # What PyYAML's own loader raises, or takes for minutes, is none of its errors.
        *("!!bool x", "!!int ''", "!!float ''", "!!timestamp x", "[" * 5000, "a: &a [*a]", "{a: !!set {b}}"),
        "labels: &a [x, x]\nnote: &b [*a, *a]\nfigures: [*b, *b]\n",
        *('labels: ["a\\x1b[2J"]', "labels: ['']", f"labels: [{'x' * 257}]", "file: 'a\\0b'", "\x00"),
        f"labels: [{'x, ' * 100_000}]",
    ],
)
def test_a_hostile_description_is_explained_too(make_model: MakeModel, text: str) -> None:
    yaml = write_yaml(make_model().parent, text)
    assert known_labels(ModelSection(path=str(yaml))) is None or "labels" in text
    with pytest.raises(ModelError) as raised:
        describe_model(ModelSection(), yaml)
    assert len(str(raised.value)) < 1000


def test_a_model_is_a_file_and_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "model.onnx"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(ModelError, match=r"cannot be read: it is a (pipe|device) and not a regular file"):
            describe_model(ModelSection(), path)


@pytest.mark.parametrize("shape", [(2**40, 3, 32, 32), (1, 3, 2**40, 32), (1, 3, -5, 32)])
def test_a_size_that_would_take_all_memory_is_refused(make_model: MakeModel, shape: tuple[int, ...]) -> None:
    path = make_model(shape)
    with pytest.raises(ModelError, match=r"a batch has 1 to 1024|must be 1 to 16384|leaves its input|cannot"):
        read_onnx(describe_model(ModelSection(), path))


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.onnx: there is no such model file"):
        describe_model(ModelSection(), tmp_path / "nowhere.onnx")


@pytest.mark.parametrize(
    ("shape", "overrides", "message"),
    [
        ((1, 3, None, None), {}, "leaves its input width open. Hint: Set model.input.width"),
        ((1, 3, 32, 48), {"width": 64, "height": 32}, "input width is 48 pixels, but 64 is asked for"),
        ((1, 4, 32, 48), {}, r"cannot tell which axis of \[1, 4, 32, 48\] is the colour"),
        (
            (1, 3, 32, 48),
            {"std": (0.0, 1.0, 1.0)},
            r"model\.onnx: its input cannot be: std must not contain 0",
        ),
        ((1, 32, 48, 3), {"layout": Layout.NCHW}, r"3 channels, but the nchw input is \[1, 32, 48, 3\]"),
    ],
)
def test_an_input_that_does_not_fit_is_explained(
    make_model: MakeModel, shape: tuple[int | None, ...], overrides: dict[str, object], message: str
) -> None:
    section = ModelSection(input=InputOverrides.model_validate(overrides))
    described = describe_model(section, make_model())
    with pytest.raises(ModelError, match=message):
        resolve_input_spec(described, shape)


def test_the_layout_follows_from_the_shape(make_model: MakeModel) -> None:
    described = describe_model(ModelSection(), make_model())
    assert resolve_input_spec(described, (None, 3, 32, 48)).layout is Layout.NCHW
    spec = resolve_input_spec(described, (1, 32, 48, 3))
    assert (spec.layout, spec.width, spec.height) == (Layout.NHWC, 48, 32)


def test_a_labels_file_without_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    (tmp_path / "labels.txt").write_text("\n  \n")
    with pytest.raises(ModelError, match=r"labels\.txt: the file names no class"):
        describe_model(ModelSection(labels=str(tmp_path / "labels.txt")), tmp_path / "model.onnx")
