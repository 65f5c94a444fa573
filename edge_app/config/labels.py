"""The labels of models, as far as they stand in the configuration or in a text file."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import yaml

from edge_app.config.models import ModelSection
from edge_app.config.problems import shorten
from edge_app.config.resources import demo_description
from edge_app.errors import ModelError


def known_labels(section: ModelSection) -> tuple[str, ...] | None:
    """Return a model's labels; None where only the model itself tells them, or their file is not good."""
    if isinstance(section.labels, tuple):
        return section.labels
    try:
        if section.labels is not None:
            return labels_of_lines(Path(section.labels).read_text(encoding="utf-8", errors="replace"))
        path = demo_description() if section.path == "demo" else Path(section.path)
        described = yaml.safe_load(path.read_bytes()) if path.suffix in {".yaml", ".yml"} else None
    except (OSError, ValueError, yaml.YAMLError, ModelError):
        return None
    labels = described.get("labels") if isinstance(described, dict) else None
    return tuple(map(str, labels)) if isinstance(labels, list) else None


def labels_of_lines(text: str) -> tuple[str, ...]:
    """Return the class names of a text with one on each line."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def without_model(wanted: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """Yield in words each of the labels that no model has."""
    for label in wanted:
        if label not in known:
            close = difflib.get_close_matches(label, known, 1)
            suggestion = f"; did you mean {close[0]}?" if close else ""
            yield f"no model has the label {shorten(label)}{suggestion}"
