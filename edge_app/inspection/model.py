"""A model as the application would use it: its input, its labels, the head that decodes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_app.config.models import ModelSection, PostprocessSection
from edge_app.errors import ModelError
from edge_app.geometry import InputSpec
from edge_app.infer.input_spec import resolve_input_spec
from edge_app.infer.label_metadata import labels_of_metadata
from edge_app.infer.model import ModelDescription, describe_model
from edge_app.inspection.onnx_facts import OnnxFacts, TensorFacts, infer_outputs, load_graph, read_facts
from edge_app.inspection.tensorrt_fit import tensorrt_warnings
from edge_app.postprocess.detect import HEADS, create_head


@dataclass(frozen=True, slots=True)
class Finding:
    """A decision and its reason; `value` is None where nothing could be decided."""

    value: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class ModelInspection:
    """What is known of a model.

    Attributes:
        name: As events call it.
        path: The ONNX file.
        sha256: Of that file.
        file_bytes: Its size.
        facts: What the file says of itself.
        labels: Names of the classes; empty where nobody says.
        labels_from: Who says so.
        input: What its input wants, as it would be used; None where that cannot be told.
        input_problem: Why it cannot be told.
        head: The head that decodes it, and why.
        warnings: What matters to TensorRT.
    """

    name: str
    path: Path
    sha256: str
    file_bytes: int
    facts: OnnxFacts
    labels: tuple[str, ...]
    labels_from: str
    input: InputSpec | None
    input_problem: str | None
    head: Finding
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        facts = asdict(self.facts)
        return {
            **asdict(self),
            "kind": "model",
            "path": str(self.path),
            "facts": {
                **facts,
                "parameters": asdict(self.facts.parameters),
                "precision": self.facts.precision,
            },
        }


def inspect_model(path: Path) -> ModelInspection:
    """Return what is known of a model, an .onnx file or the .yaml that describes one.

    Raises:
        ModelError: The file is missing, damaged, or not the one that is described.
    """
    description = describe_model(ModelSection(path=str(path)), path)
    model = load_graph(description.path)
    facts = read_facts(description.path, model)
    labels, labels_from = _labels(description, facts)
    spec, problem = _input(description, facts)
    outputs = facts.outputs
    if spec is not None:
        name = facts.inputs[0].name
        outputs = infer_outputs(model, {name: (None, *spec.shape(1)[1:])})
    return ModelInspection(
        name=description.name,
        path=description.path,
        sha256=description.sha256,
        file_bytes=description.path.stat().st_size,
        facts=facts,
        labels=labels or (),
        labels_from=labels_from,
        input=spec,
        input_problem=problem,
        head=_head(description, outputs, spec, labels),
        warnings=tensorrt_warnings(model, facts),
    )


def _labels(description: ModelDescription, facts: OnnxFacts) -> tuple[tuple[str, ...] | None, str]:
    if description.labels is not None:
        return description.labels, "the model's description"
    names = facts.metadata.get("names")
    if names is None:
        return None, "neither a description nor the model's metadata (names) tells them"
    try:
        return labels_of_metadata(names), "the model's metadata"
    except ValueError as error:
        return None, f"the model's metadata (names) cannot be read: {error}"


def _input(description: ModelDescription, facts: OnnxFacts) -> tuple[InputSpec | None, str | None]:
    if len(facts.inputs) != 1 or len(facts.inputs[0].shape) != 4:
        found = ", ".join(str(item) for item in facts.inputs) or "none"
        return None, f"a detector with one image input of 4 axes is expected, found {found}"
    try:
        return resolve_input_spec(description, facts.inputs[0].spec.shape), None
    except ModelError as error:
        return None, str(error)


def _head(
    description: ModelDescription,
    outputs: tuple[TensorFacts, ...],
    spec: InputSpec | None,
    labels: tuple[str, ...] | None,
) -> Finding:
    if spec is None:
        return Finding(None, "without knowing the input nobody can tell")
    try:
        specs = [output.spec for output in outputs]
        name = create_head(description.head, specs, spec, labels, PostprocessSection()).name
    except ModelError as error:
        return Finding(None, str(error))
    family = next(family for family in HEADS if family.name == name)
    chosen = "told by the outputs" if description.head == "auto" else "chosen by the description"
    return Finding(name, f"{chosen}; it decodes {family.wants(len(labels or ()), spec)}")
