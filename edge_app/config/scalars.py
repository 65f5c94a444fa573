"""What a plain word of YAML means here: the JSON-like part of YAML 1.2, where nothing surprises.

YAML 1.1, which PyYAML speaks, reads `on`, `no` and `y` as booleans, `12:30:00` as 45000, `1_000` as 1000,
`0777` as 511 and `2024-05-01` as a date. Here they stay text, and a key that wants something else says so.
"""

from __future__ import annotations

import re

Scalar = bool | int | float | str | None

_WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,39})", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]{1,40}|(0|[1-9][0-9]{0,39})(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,4})?", re.ASCII
)


def resolve_scalar(text: str) -> Scalar:
    """Return the value of a plain (unquoted) scalar; what is neither word nor number stays text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
