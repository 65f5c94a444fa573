"""What is known of a model before it runs: its file, its labels, and what its input wants.

A model is an `.onnx` file, or a `.yaml` file beside it that describes it:

    name: demo
    file: demo.onnx
    sha256: 0f1e...            # of the file; refused when it differs
    labels: [person, bicycle]
    input: {size: [416, 416], layout: nchw, color: rgb, scale: 0.00392, fit: letterbox, pad_value: 114}
    head: yolov8
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge_app.config.labels import MOST_LABEL_BYTES, labels_of_lines, require_labels
from edge_app.config.models import InputOverrides, ModelSection
from edge_app.config.problems import shorten
from edge_app.config.yaml_reader import MAX_BYTES, read_yaml
from edge_app.errors import ModelError
from edge_app.files.bounded import read_bounded, sha256_of

DESCRIPTION_KEYS = frozenset(
    {"name", "file", "sha256", "labels", "input", "head", "figures", "licence", "note"}
)


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A model on disk, with what its description and the configuration say of it.

    `labels` is None where neither says; `input` holds None for what the model itself must tell.
    """

    name: str
    path: Path
    sha256: str
    labels: tuple[str, ...] | None
    input: InputOverrides
    head: str


def describe_model(section: ModelSection, path: Path) -> ModelDescription:
    """Read what there is to know of the model at `path`, an .onnx file or the .yaml that describes one.

    What the configuration's `section` sets wins over the description.

    Raises:
        ModelError: A file is missing, unreadable or not what it should be.
    """
    if path.suffix in {".yaml", ".yml"}:
        described = _parse(path, _read(path, MAX_BYTES))
        model_path = path.parent / str(described.get("file", path.with_suffix(".onnx").name))
    else:
        described, model_path = {}, path
    with _explained(model_path):
        sha256 = sha256_of(model_path)
    expected = described.get("sha256")
    if expected is not None and expected != sha256:
        raise ModelError(
            f"{model_path}: SHA-256 is {sha256[:12]}..., but {path.name} says {str(expected)[:12]}...",
            hint="Fetch the model again, or correct the description if the model was changed on purpose.",
        )
    labels = _labels(section.labels, described.get("labels"), path)
    head = section.head if section.head != "auto" else str(described.get("head", "auto"))
    return ModelDescription(
        name=str(described.get("name", model_path.stem)),
        path=model_path,
        sha256=sha256,
        labels=labels,
        input=_merge_input(path, described.get("input") or {}, section.input),
        head=head,
    )


def _read(path: Path, most_bytes: int) -> bytes:
    with _explained(path):
        return read_bounded(path, most_bytes)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such model file", hint="Check model.path.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "that cannot be a file name"
        raise ModelError(f"{path}: cannot be read: {reason}") from None


def _parse(path: Path, text: bytes) -> Mapping[str, Any]:
    document = read_yaml(text, str(path))
    if document.problems:
        problem = document.problems[0]
        place = f"line {problem.line}: " if problem.line is not None else ""
        message = f"{path}: not a model description: {place}{problem.message}"
        raise ModelError(message, hint=problem.hint)
    described = document.data
    if not isinstance(described, dict):
        raise ModelError(f"{path}: a model description is a mapping, found {type(described).__name__}")
    unknown = sorted(str(key) for key in described if key not in DESCRIPTION_KEYS)
    if unknown:
        raise ModelError(
            f"{path}: unknown key {unknown[0]!r}", hint=f"Known are {', '.join(sorted(DESCRIPTION_KEYS))}."
        )
    return described


def _labels(chosen: object, described: object, path: Path) -> tuple[str, ...] | None:
    if isinstance(chosen, str):
        labels = labels_of_lines(_read(Path(chosen), MOST_LABEL_BYTES).decode(errors="replace"))
        if not labels:
            raise ModelError(f"{chosen}: the file names no class", hint="Write one class name on each line.")
        return labels
    if chosen is not None:
        described = chosen
    if described is None:
        return None
    if not isinstance(described, list | tuple) or not all(isinstance(label, str) for label in described):
        found = shorten(repr(described))
        raise ModelError(f"{path}: labels must be a list of names, found {found}")
    try:
        return require_labels(tuple(described))
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from None


def _merge_input(path: Path, described: object, chosen: InputOverrides) -> InputOverrides:
    if not isinstance(described, dict):
        raise ModelError(
            f"{path}: input must be a mapping, such as {{size: [640, 640]}}, found {shorten(repr(described))}"
        )
    fields: dict[str, Any] = dict(described)
    size = fields.pop("size", None)
    if size is not None:
        if not (isinstance(size, list) and len(size) == 2):
            raise ModelError(f"{path}: input.size must be [width, height], found {shorten(repr(size))}")
        fields["width"], fields["height"] = size
    fields.update(chosen.model_dump(exclude_none=True))
    try:
        return InputOverrides.model_validate(fields, strict=False)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()
        )
        raise ModelError(f"{path}: input cannot be understood: {wrong}") from None
