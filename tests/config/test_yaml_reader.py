"""The strict YAML reader: no surprises, every place remembered, every refusal explained."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.config.document import yaml_text
from edge_app.config.yaml_reader import MAX_BYTES, Mark, read_yaml


def _read(text: str) -> Any:
    document = read_yaml(text.encode(), "f.yaml")
    assert document.problems == ()
    return document.data


@pytest.mark.parametrize(
    "text",
    [
        *("on", "off", "On", "OFF", "yes", "no", "Yes", "NO", "y", "n", "True", "FALSE", "Null", "NULL"),
        *("12:30:00", "1:30", "190:20:30", "1_000", "0777", "007", "0o17", "0x1F", "0b101", "1__0.5"),
        *("2024-05-01", "2024-05-01T10:00:00Z", ".inf", "-.INF", ".nan", "=", "1.2.3", "3.1.1", "1e", "+-1"),
        *("NO", "٣", "1٣", "~/video.mp4", "0,5", "50%"),
    ],
)
def test_stays_text(text: str) -> None:
    assert _read(f"key: {text}") == {"key": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("1.5", 1.5),
        ("1.", 1.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-2.5E-3", -0.0025),
        ("'on'", "on"),
        ('"1"', "1"),
        ("'null'", "null"),
    ],
)
def test_has_the_value(text: str, value: object) -> None:
    result = _read(f"key: {text}")["key"]
    assert result == value
    assert type(result) is type(value)


def test_every_key_and_value_keeps_its_place() -> None:
    document = read_yaml(b"# first\na: 1\nb:\n  c: [x,\n    'y']\n", "f.yaml")
    spots = document.spots
    assert spots[("a",)].key == Mark(2, 1)
    assert spots[("a",)].value == Mark(2, 4)
    assert spots[("b", "c")].key == Mark(4, 3)
    assert spots[("b", "c", 0)].value == Mark(4, 7)
    assert spots[("b", "c", 1)].value == Mark(5, 5)
    assert (spots[("b", "c", 1)].source, spots[("b", "c", 1)].quoted) == ("y", True)


LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: 1\na: 2", "f:2: a: is set twice, first in line 1. Hint: keep one of them"),
        (b"a:\n  b: 1\n  b: 2", "f:3: a.b: is set twice, first in line 2. Hint: keep one of them"),
        (b"1: x", 'f:1: 1: the key 1 is not text. Hint: put it in quotes: "1":'),
        (b"true: x", 'f:1: true: the key true is not text. Hint: put it in quotes: "true":'),
        (b"{[a]: x}", "f:1: a list, section or alias is used as a key. Hint: keys are plain text"),
        (b"?\n: x", "f:1: there is a colon without a key before it. Hint: write `key: value`"),
        (b"a: *x", "f:1: a: aliases (*name) are not supported. Hint: write the value again"),
        (b"a: &x 1", "f:1: a: anchors (&name) are not supported. Hint: remove it and write the value out"),
        (
            b"<<: {a: 1}",
            (
                "f:1: '<<': merge keys (<<) are not supported. Hint: what cameras share goes into "
                "camera_defaults"
            ),
        ),
        (
            b"a: !!python/object:os.system x",
            "f:1: a: tags (!name) are not supported. Hint: remove the tag, or quote the value",
        ),
        (b"a: !", "f:1: a: tags (!name) are not supported. Hint: remove the tag, or quote the value"),
        (
            b"a: 1\n---\nb: 2",
            "f:2: a second document begins after `---`. Hint: a configuration is one document",
        ),
        (
            b"a:\tb",
            "f:1: there is a tab character. Hint: YAML wants spaces here; indent by two of them",
        ),
        (
            b"a:\n\tb: 1",
            "f:2: there is a tab character. Hint: YAML wants spaces here; indent by two of them",
        ),
        (
            b"a: @x",
            "f:1: a value cannot begin with the character @. Hint: put the value in 'single quotes'",
        ),
        (
            b"a: *.jpg",
            (
                "f:1: a value cannot begin with * or & here. "
                "Hint: put the value in 'single quotes', as in uri: '*.jpg'"
            ),
        ),
        (
            b"a: b: c",
            (
                "f:1: there is a colon where none can be. Hint: a value that holds a colon and a space needs "
                "'single quotes'; otherwise the indentation is wrong"
            ),
        ),
        (
            b"a: 1\nb: 'open\nc: 2\n",
            "f:2: a quote is opened here and never closed. Hint: add the closing quote",
        ),
        (
            b'a: "C:\\door"',
            (
                "f:1: a backslash in double quotes is not followed by an escape that YAML knows. "
                "Hint: use 'single quotes', where a backslash is just a backslash"
            ),
        ),
        (
            b"a: 1\nb\nc: 2",
            (
                "f:2: this line is not of the form `key: value`. Hint: there must be a space after the "
                "colon, "
                "and the indentation must match the line above"
            ),
        ),
        (
            b"a: 1\nb",
            (
                "f:2: this line is not of the form `key: value`. Hint: there must be a space after the "
                "colon, "
                "and the indentation must match the line above"
            ),
        ),
        (
            b"a: [1, 2\nb: 3",
            (
                "f:1: a [list] or {section} is opened here and not closed properly. "
                "Hint: separate its items by commas, close it with ] or }, and put text with ? or : in "
                "'single quotes'"
            ),
        ),
        (
            b"a:\n  b: 1\n c: 2",
            (
                "f:3: the indentation does not match the lines above. "
                "Hint: indent all keys of one section by the same number of spaces"
            ),
        ),
        (
            b"a: 'it's'",
            (
                "f:1: there is text after the end of a value, or a wrong indentation. "
                "Hint: inside 'single quotes' write '' for a quote; "
                "keys of one section need the same indentation"
            ),
        ),
        (b'a: "\\U00110000"', "f: there is an escape like \\U00110000 that is no character. Hint: remove it"),
        (
            b'a: "\\0"',
            (
                "f:1: a: there is an escaped control character in this text. "
                "Hint: use 'single quotes', where a backslash is just a backslash"
            ),
        ),
        (
            b'a: "\\ud800"',
            (
                "f:1: a: there is an escaped control character in this text. "
                "Hint: use 'single quotes', where a backslash is just a backslash"
            ),
        ),
        ("a: ü".encode("utf-16"), "f:1: the file is encoded as UTF-16. Hint: save it as UTF-8"),
        (
            "a: 1\nb: ü".encode("latin-1"),
            "f:2: the byte 0xFC is not UTF-8 text. Hint: save the file as UTF-8",
        ),
        (
            b"a: 1\nb: \x07",
            (
                "f:2: there is an invisible character, U+0007 (control character). "
                "Hint: delete it, or type an ordinary space in its place"
            ),
        ),
        (
            "a:\n\u00a0b: 1".encode(),
            (
                "f:2: there is an invisible character, U+00A0 (non-breaking space). "
                "Hint: delete it, or type an ordinary space in its place"
            ),
        ),
        (
            b"#" * (MAX_BYTES + 1),
            (
                "f: the file is too large for a configuration: 262145 bytes, at most 262144 are read. "
                "Hint: is it the right file?"
            ),
        ),
        (
            b"a: " + b"[" * 50_000,
            "f:1: sections are nested more than 12 deep. Hint: check brackets and indentation",
        ),
    ],
)
def test_refuses(content: bytes, expected: str) -> None:
    assert [str(problem) for problem in read_yaml(content, "f").problems] == [expected]


def test_a_billion_laughs_stay_small() -> None:
    document = read_yaml(LAUGHS.encode(), "f")
    assert document.data["d"] == [None, None]
    assert len(document.problems) == 3 + 6


def test_a_byte_order_mark_is_no_problem() -> None:
    assert read_yaml(b"\xef\xbb\xbfa: 1", "f").data == {"a": 1}


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200)
    | st.text(alphabet="ab:-#'\"[]{}&*!|>%@`?,\\ \n\t01_.~<", max_size=60).map(str.encode)
)
def test_never_raises(content: bytes) -> None:
    document = read_yaml(content, "f")
    assert document.complete or document.problems


texts = st.text(
    alphabet=st.characters(
        codec="utf-8", categories=("L", "N", "P", "S", "Zs"), exclude_characters="\xa0\ufeff"
    ),
    max_size=20,
)
trees = st.dictionaries(
    texts,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**12), 10**12)
        | st.floats(allow_nan=False, allow_infinity=False)
        | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(trees)
def test_what_is_written_is_read_again(tree: dict[str, Any]) -> None:
    document = read_yaml(yaml_text(tree).encode(), "f")
    assert document.problems == ()
    assert document.data == tree
