"""The model of a configuration, and the head that decodes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_app.config.models import AppConfig, PostprocessSection
from edge_app.config.resources import demo_description
from edge_app.errors import ModelError
from edge_app.geometry import InputSpec
from edge_app.infer.model import ModelDescription, describe_model
from edge_app.interfaces import Head, HeadFactory, TensorSpec
from edge_app.postprocess.detect import create_head


def describe(config: AppConfig) -> ModelDescription:
    """Return what is known of a configuration's model. Raises ModelError."""
    path = demo_description() if config.model.path == "demo" else Path(config.model.path)
    return describe_model(config.model, path)


def head_factory(description: ModelDescription, section: PostprocessSection) -> HeadFactory:
    """Return what makes the head of a model; it raises ModelError if the outputs do not fit."""

    def make_head(outputs: Sequence[TensorSpec], spec: InputSpec, labels: tuple[str, ...] | None) -> Head:
        try:
            return create_head(description.head, outputs, spec, labels, section)
        except ModelError as error:
            raise ModelError(f"{description.path}: {error.message}", hint=error.hint) from None

    return make_head
