"""A strict reader of YAML that remembers where every key and value stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import yaml

from edge_app.config.problems import KeyPath, Problem, format_path, shorten
from edge_app.config.scalars import Scalar, resolve_scalar
from edge_app.config.yaml_errors import explain_yaml_error

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12

_UNUSABLE = re.compile(
    "[^\t\n\r\x20-\x7e\xa1-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_LINE_END = re.compile("\r\n|\r|\n")

Node: TypeAlias = Any
"""dict[str, Node], list[Node], str, int, float, bool or None."""


class _Refused(Enum):
    VALUE = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a value stands, where its key stands, and how a scalar was written."""

    value: Mark
    key: Mark | None = None
    source: str | None = None
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds: plain values, their places, and what could not be accepted.

    Attributes:
        data: The values; those refused are left out of mappings and are None in lists.
        spots: The place of every value.
        problems: What was refused and why.
        refused: Paths of the refused values.
        complete: Whether all of the file was read; False after an error of syntax.
    """

    data: Node
    spots: Mapping[KeyPath, Spot]
    problems: tuple[Problem, ...] = ()
    refused: frozenset[KeyPath] = frozenset()
    complete: bool = True


class _UnreadableError(Exception):
    """The rest of the text cannot be read."""

    def __init__(self, line: int | None, message: str, hint: str, path: KeyPath = ()) -> None:
        super().__init__(message)
        self.line, self.message, self.hint, self.path = line, message, hint, path


def read_yaml(content: bytes, file: str) -> Document:
    """Read one YAML document of plain text, numbers, true, false, null, lists and mappings.

    Args:
        content: The file's bytes, UTF-8.
        file: Its name, for problems.

    Never raises for what the bytes may be: the problems are in the result.
    """
    composer = _Composer(file)
    try:
        data = composer.compose(_decode(content))
    except _UnreadableError as error:
        problem = Problem(file, error.line, format_path(error.path), error.message, error.hint)
        return Document(None, {}, (*composer.problems, problem), complete=False)
    return Document(data, composer.spots, tuple(composer.problems), frozenset(composer.refused))


def _decode(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise _UnreadableError(
            None,
            f"the file is too large for a configuration: {len(content)} bytes, at most {MAX_BYTES} are read",
            "is it the right file?",
        )
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _UnreadableError(1, "the file is encoded as UTF-16", "save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(_LINE_END.findall(content[: error.start].decode("utf-8", "replace"))) + 1
        found = f"the byte 0x{content[error.start]:02X} is not UTF-8 text"
        raise _UnreadableError(line, found, "save the file as UTF-8") from None
    unusable = _UNUSABLE.search(text)
    if unusable:
        line = len(_LINE_END.findall(text[: unusable.start()])) + 1
        kind = "non-breaking space" if unusable.group() == "\xa0" else "control character"
        found = f"there is an invisible character, U+{ord(unusable.group()):04X} ({kind})"
        raise _UnreadableError(line, found, "delete it, or type an ordinary space in its place")
    return text


class _Composer:
    """Builds values from PyYAML's events; aliases are refused, so a small file stays small."""

    def __init__(self, file: str) -> None:
        self.spots: dict[KeyPath, Spot] = {}
        self.problems: list[Problem] = []
        self.refused: set[KeyPath] = set()
        self._file = file
        self._events: Iterator[yaml.Event] = iter(())

    def compose(self, text: str) -> Node:
        self._events = yaml.parse(text, Loader=yaml.SafeLoader)
        self._next()  # the start of the stream
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        data = self._node(self._next(), ())
        self._next()  # the end of the document
        following = self._next()
        if not isinstance(following, yaml.StreamEndEvent):
            raise _UnreadableError(
                _mark(following).line,
                "a second document begins after `---`",
                "a configuration is one document",
            )
        return None if data is _Refused.VALUE else data

    def _next(self) -> yaml.Event:
        try:
            return next(self._events)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            explanation = explain_yaml_error(error)
            raise _UnreadableError(explanation.line, explanation.message, explanation.hint) from None

    def _node(self, event: yaml.Event, path: KeyPath, key: Mark | None = None) -> Node:
        """Return the value that begins with `event`, or _Refused.VALUE."""
        if len(path) > MAX_DEPTH:
            raise _UnreadableError(
                _mark(event).line,
                f"sections are nested more than {MAX_DEPTH} deep",
                "check brackets and indentation",
            )
        self.spots[path] = Spot(_mark(event), key)
        if isinstance(event, yaml.AliasEvent):
            return self._refuse(event, path, "aliases (*name) are not supported", "write the value again")
        if isinstance(event, yaml.ScalarEvent):
            value: Node = self._scalar(event, path, key)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(path)
        else:
            value = self._mapping(path)
        if getattr(event, "anchor", None) is not None:
            message, hint = "anchors (&name) are not supported", "remove it and write the value out"
            self._report(_mark(event).line, path, message, hint)
        if getattr(event, "tag", None) is not None:
            return self._refuse(
                event, path, "tags (!name) are not supported", "remove the tag, or quote the value"
            )
        return value

    def _scalar(self, event: yaml.ScalarEvent, path: KeyPath, key: Mark | None) -> Scalar:
        plain = _is_plain(event)
        self.spots[path] = Spot(_mark(event), key, event.value, quoted=not plain)
        if _UNUSABLE.search(event.value):
            hint = "use 'single quotes', where a backslash is just a backslash"
            self._refuse(event, path, "there is an escaped control character in this text", hint)
            return None
        return resolve_scalar(event.value) if plain else str(event.value)

    def _sequence(self, path: KeyPath) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            item = self._node(event, (*path, len(items)))
            items.append(None if item is _Refused.VALUE else item)
        return items

    def _mapping(self, path: KeyPath) -> dict[str, Node]:
        values: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, path)
            mark = _mark(event)
            if key == "<<" and _is_plain(event):
                self._skip((*path, key))
                hint = "what cameras share goes into camera_defaults"
                self._refuse(event, (*path, key), "merge keys (<<) are not supported", hint)
            elif key in keys:
                self._skip((*path, key))
                message = f"is set twice, first in line {keys[key].line}"
                self._report(mark.line, (*path, key), message, "keep one of them")
            elif key is None:
                self._skip((*path, "?"))
            else:
                keys[key] = mark
                value = self._node(self._next(), (*path, key), mark)
                if value is not _Refused.VALUE:
                    values[key] = value
        return values

    def _key(self, event: yaml.Event, path: KeyPath) -> str | None:
        """Return a key's text; None after a report if it cannot be a key."""
        line = _mark(event).line
        if not isinstance(event, yaml.ScalarEvent):
            if not isinstance(event, yaml.AliasEvent):
                self._skip((*path, "?"), event)
            self._report(line, path, "a list, section or alias is used as a key", "keys are plain text")
            return None
        text = str(event.value)
        if _is_plain(event) and not isinstance(resolve_scalar(text), str):
            if not text:
                self._report(line, path, "there is a colon without a key before it", "write `key: value`")
                return None
            self._report(line, (*path, text), f"the key {text} is not text", f'put it in quotes: "{text}":')
        if event.tag is not None or event.anchor is not None:
            self._report(
                line, (*path, shorten(text)), "tags and anchors on keys are not supported", "remove them"
            )
        return text

    def _skip(self, path: KeyPath, event: yaml.Event | None = None) -> None:
        """Read past a value that does not count, without a trace of it."""
        kept = self.spots, self.problems, self.refused
        self.spots, self.problems, self.refused = {}, [], set()
        self._node(event or self._next(), path)
        self.spots, self.problems, self.refused = kept

    def _refuse(self, event: yaml.Event, path: KeyPath, message: str, hint: str) -> _Refused:
        self.refused.add(path)
        self._report(_mark(event).line, path, message, hint)
        return _Refused.VALUE

    def _report(self, line: int, path: KeyPath, message: str, hint: str) -> None:
        self.problems.append(Problem(self._file, line, format_path(path), message, hint))


def _is_plain(event: yaml.Event) -> bool:
    return getattr(event, "style", None) in (None, "")


def _mark(event: yaml.Event) -> Mark:
    mark = event.start_mark
    return Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)
