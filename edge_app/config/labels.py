"""The labels of models, as far as they stand in the configuration or in a text file."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from edge_app.config.models import ModelSection
from edge_app.config.problems import shorten
from edge_app.config.resources import demo_description
from edge_app.config.yaml_reader import MAX_BYTES, read_yaml
from edge_app.errors import ModelError
from edge_app.files.bounded import read_bounded

MOST_LABEL_BYTES = 1 << 20
"""Of a file of labels, or of those in a model's metadata."""
MOST_LABEL_CHARS = 256


def known_labels(section: ModelSection) -> tuple[str, ...] | None:
    """Return a model's labels; None where only the model itself tells them, or their file is not good."""
    if isinstance(section.labels, tuple):
        return section.labels
    try:
        if section.labels is not None:
            content = read_bounded(Path(section.labels), MOST_LABEL_BYTES)
            return labels_of_lines(content.decode(errors="replace"))
        path = demo_description() if section.path == "demo" else Path(section.path)
        if path.suffix not in {".yaml", ".yml"}:
            return None
        described = read_yaml(read_bounded(path, MAX_BYTES), str(path)).data
    except (OSError, ValueError, ModelError):
        return None
    labels = described.get("labels") if isinstance(described, dict) else None
    return tuple(map(str, labels)) if isinstance(labels, list) else None


def labels_of_lines(text: str) -> tuple[str, ...]:
    """Return the class names of a text with one on each line."""
    return tuple(_printable(line.strip()) for line in text.splitlines() if line.strip())


def require_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return class names that can stand in a message, a topic, and on a terminal.

    Raises:
        ValueError: One is empty, too long, or holds what cannot be printed.
    """
    for number, label in enumerate(labels):
        if not 0 < len(label) <= MOST_LABEL_CHARS or not label.isprintable():
            raise ValueError(
                f"class name {number} must have 1 to {MOST_LABEL_CHARS} printable characters, "
                f"found {shorten(ascii(label))}"
            )
    return labels


def _printable(label: str) -> str:
    """Return the name with a question mark for what cannot be printed, and cut if it is too long."""
    return "".join(c if c.isprintable() else "?" for c in label[:MOST_LABEL_CHARS])


def without_model(wanted: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """Yield in words each of the labels that no model has."""
    for label in wanted:
        if label not in known:
            close = difflib.get_close_matches(label, known, 1)
            suggestion = f"; did you mean {close[0]}?" if close else ""
            yield f"no model has the label {shorten(label)}{suggestion}"
