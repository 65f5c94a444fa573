"""The configuration's labels become a threshold for each class."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from edge_app.config.models import PostprocessSection
from edge_app.errors import ConfigError

SHOWN_LABELS = 100


def class_thresholds(section: PostprocessSection, labels: Sequence[str]) -> NDArray[np.float32]:
    """Return the confidence threshold of each class, (classes,) float32; infinity where it is not wanted.

    Raises:
        ConfigError: If `classes` or `class_confidence` name labels that the model does not have.
    """
    _refuse_unknown(section, labels)
    wanted = section.classes or labels
    thresholds = [
        section.class_confidence.get(label, section.confidence_threshold) if label in wanted else np.inf
        for label in labels
    ]
    return np.array(thresholds, np.float32)


def _refuse_unknown(section: PostprocessSection, labels: Sequence[str]) -> None:
    problems = []
    for key, named in (("classes", section.classes), ("class_confidence", tuple(section.class_confidence))):
        for label in named:
            if label not in labels:
                close = get_close_matches(label, labels, n=1)
                guess = f" (did you mean {close[0]!r}?)" if close else ""
                problems.append(f"postprocess.{key}: the model has no label {label!r}{guess}")
    if problems:
        more = f" and {len(labels) - SHOWN_LABELS} more" if len(labels) > SHOWN_LABELS else ""
        raise ConfigError(
            "; ".join(problems) + ".", hint=f"Its labels are {', '.join(labels[:SHOWN_LABELS])}{more}."
        )
