"""Which head decodes a model: told by its outputs, or chosen and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from edge_app.config.models import PostprocessSection
from edge_app.errors import ModelError
from edge_app.geometry import InputSpec
from edge_app.interfaces import Head, TensorSpec
from edge_app.postprocess.heads.end_to_end import EndToEndHead
from edge_app.postprocess.heads.selection import Selection
from edge_app.postprocess.heads.yolov8 import YoloV8Head
from edge_app.postprocess.thresholds import class_thresholds


class HeadFamily(Protocol):
    """A head before it is bound to a model: what `HEADS` lists."""

    @property
    def name(self) -> str:
        """The name that the configuration uses."""

    def wants(self, class_count: int, spec: InputSpec) -> str:
        """Say in words which output this head decodes."""

    def accepts(self, shape: Sequence[int | None], class_count: int) -> bool:
        """Whether this head can decode an output of this shape, if told to."""

    def fits(self, shape: Sequence[int | None], class_count: int, spec: InputSpec) -> bool:
        """Whether an output of this shape can be told to be this head's. Fits at most one head of all."""

    def __call__(self, output: str, selection: Selection) -> Head:
        """Return the head for the output of that name."""


HEADS: tuple[HeadFamily, ...] = (YoloV8Head, EndToEndHead)

AUTO = "auto"

FLOATS = (np.dtype(np.float32), np.dtype(np.float16))


def create_head(
    choice: str,
    outputs: Sequence[TensorSpec],
    spec: InputSpec,
    labels: Sequence[str] | None,
    section: PostprocessSection,
) -> Head:
    """Return the head that decodes a model.

    Args:
        choice: Name of a head, or "auto": told by the outputs' shapes.
        outputs: The model's outputs.
        spec: The model's input: how many anchors there are follows from its size.
        labels: Names of the model's classes, None where nobody knows them.
        section: Thresholds and limits.

    Raises:
        ModelError: If no head, or more than one output, fits.
        ConfigError: If the section names a label that the model does not have.
    """
    families = [family for family in HEADS if choice in {AUTO, family.name}]
    if not families:
        names = ", ".join([AUTO, *(family.name for family in HEADS)])
        raise ModelError(f"there is no head {choice!r}", hint=f"Known are {names}.")
    if not labels:
        raise ModelError(
            f"the model does not name its classes; its outputs are {_describe(outputs)}",
            hint="List them in order as model.labels, or name a text file with one on each line.",
        )
    matches = [
        (family, output.name)
        for family in families
        for output in outputs
        if output.dtype in FLOATS and _matches(choice, family, output.shape, len(labels), spec)
    ]
    if len(matches) != 1:
        raise ModelError(
            f"{_problem(choice, [name for _, name in matches])}. Found: {_describe(outputs)}. "
            f"With {len(labels)} labels and an input of {spec.width}x{spec.height} pixels, "
            + "; ".join(f"{family.name} wants {family.wants(len(labels), spec)}" for family in families)
            + ".",
            hint="Is the number of labels (model.labels) the model's, and model.input its size? "
            "Otherwise export the model with one output of these.",
        )
    family, name = matches[0]
    return family(name, Selection(class_thresholds(section, labels), section.max_candidates))


def _matches(
    choice: str, family: HeadFamily, shape: Sequence[int | None], class_count: int, spec: InputSpec
) -> bool:
    if choice == AUTO:
        return family.fits(shape, class_count, spec)
    return family.accepts(shape, class_count)


def _problem(choice: str, matching: Sequence[str]) -> str:
    if matching:
        return f"more than one of the model's outputs could be decoded: {', '.join(matching)}"
    if choice == AUTO:
        return "no head fits the model's outputs"
    return f"head {choice!r} does not fit the model's outputs"


def _describe(outputs: Sequence[TensorSpec]) -> str:
    described = []
    for output in outputs:
        shape = ", ".join("?" if axis is None else str(axis) for axis in output.shape)
        described.append(f"{output.name} [{shape}] {output.dtype}")
    return ", ".join(described)
