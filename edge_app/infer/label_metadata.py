"""The class names that exporters leave in a model's metadata: {'names': "{0: 'person', 1: 'car'}"}."""

from __future__ import annotations

import ast

from edge_app.config.labels import MOST_LABEL_BYTES, require_labels


def labels_of_metadata(names: str) -> tuple[str, ...]:
    """Return the class names in order; `names` is the text of a Python dict by class id, or of a list.

    Raises:
        ValueError: It is neither, a class id between the others is missing, or a name cannot be one.
    """
    if len(names) > MOST_LABEL_BYTES:
        raise ValueError(f"{len(names)} characters of class names, at most {MOST_LABEL_BYTES} are read")
    try:
        parsed = ast.literal_eval(names)
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a dict or list of names: {error}") from None
    if isinstance(parsed, dict):
        if not all(isinstance(key, int) for key in parsed) or sorted(parsed) != list(range(len(parsed))):
            raise ValueError("class ids must be 0, 1, 2 and so on, without a gap")
        parsed = [parsed[class_id] for class_id in range(len(parsed))]
    if not isinstance(parsed, list | tuple):
        raise ValueError(f"not a dict or list of names, but {type(parsed).__name__}")  # noqa: TRY004 - it is text
    return require_labels(tuple(str(value) for value in parsed))
