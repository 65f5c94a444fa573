"""Class names in a model's metadata are text that somebody else wrote."""

from __future__ import annotations

import pytest

from edge_app.config.labels import MOST_LABEL_BYTES, labels_of_lines
from edge_app.infer.label_metadata import labels_of_metadata


@pytest.mark.parametrize("names", ["{0: 'person', 1: 'car'}", "['person', 'car']", "{1: 'car', 0: 'person'}"])
def test_names_are_read(names: str) -> None:
    assert labels_of_metadata(names) == ("person", "car")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("{0: 'a', 2: 'b'}", "without a gap"),
        ("7", "but int"),
        ("-" * 100_000 + "1", "not a dict or list of names"),
        ("[" * 100_000, "not a dict or list of names"),
        ("__import__('os').abort()", "malformed"),
        ("[" + "'x'," * (MOST_LABEL_BYTES // 4) + "]", "at most 1048576 are read"),
        ("{0: 'a\\nb'}", "class name 0 must have 1 to 256 printable characters"),
        ("{0: '\\x1b[2J'}", r"found '\\x1b\[2J'"),
        ("{0: '\\ud800'}", r"found '\\ud800'"),
        ("{0: ''}", "class name 0"),
        (f"{{0: '{'x' * 300}'}}", "class name 0"),
    ],
)
def test_what_cannot_be_names_is_refused(names: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        labels_of_metadata(names)


def test_a_file_of_names_steers_no_terminal() -> None:
    assert labels_of_lines("person\n\n  car\x1b[2J \n" + "x" * 1000) == ("person", "car?[2J", "x" * 256)
