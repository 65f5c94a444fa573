"""PyYAML's complaints in words that help somebody who does not know YAML's grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is wrong where; `line` counts from 1."""

    line: int | None
    message: str
    hint: str


_TABLE: tuple[tuple[str, str, str], ...] = (
    (r"found character '\\t'", "there is a tab character", "YAML wants spaces here; indent by two of them"),
    (
        r"found character '(.)' that cannot start any token",
        "a value cannot begin with the character \\1",
        "put the value in 'single quotes'",
    ),
    (
        r"scanning an alias|scanning an anchor",
        "a value cannot begin with * or & here",
        "put the value in 'single quotes', as in uri: '*.jpg'",
    ),
    (
        r"mapping values are not allowed here",
        "there is a colon where none can be",
        "a value that holds a colon and a space needs 'single quotes'; otherwise the indentation is wrong",
    ),
    (
        r"scanning a quoted scalar .*unexpected end of stream",
        "a quote is opened here and never closed",
        "add the closing quote",
    ),
    (
        r"scanning a double-quoted scalar",
        "a backslash in double quotes is not followed by an escape that YAML knows",
        "use 'single quotes', where a backslash is just a backslash",
    ),
    (
        r"could not find expected ':'",
        "this line is not of the form `key: value`",
        "there must be a space after the colon, and the indentation must match the line above",
    ),
    (
        r"flow sequence|flow mapping|flow node",
        "a [list] or {section} is opened here and not closed properly",
        "separate its items by commas, close it with ] or }, and put text with ? or : in 'single quotes'",
    ),
    (
        r"expected <block end>, but found '<scalar>'",
        "there is text after the end of a value, or a wrong indentation",
        "inside 'single quotes' write '' for a quote; keys of one section need the same indentation",
    ),
    (
        r"expected <block end>|found '-'|sequence entries are not allowed",
        "the indentation does not match the lines above",
        "indent all keys of one section by the same number of spaces",
    ),
    (
        r"directive|incompatible YAML document|tag handle",
        "% at the start of a line is for YAML directives",
        "remove it",
    ),
    (
        r"block scalar",
        "| or > must be the last character of its line",
        "put the value in 'single quotes' instead",
    ),
    (
        r"node content",
        "there is a bracket or brace where a value should be",
        "remove it, or put the value in 'single quotes'",
    ),
)


def explain_yaml_error(error: Exception) -> Explanation:
    """Explain what PyYAML raised while it parsed a text."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return Explanation(None, "there is an escape like \\U00110000 that is no character", "remove it")
    found = f"{error.context or ''} {error.problem or ''}"
    began = re.search(r"quoted scalar|flow|simple key", found)
    opened = error.context_mark if began else None
    mark = opened or error.problem_mark
    line = mark.line + 1 if mark else None
    for pattern, message, hint in _TABLE:
        match = re.search(pattern, found, re.DOTALL)
        if match:
            return Explanation(line, match.expand(message), hint)
    return Explanation(line, f"this is not valid YAML ({error.problem})", "compare with configs/edge.yaml")
