"""What a key accepts, in words: for error messages and for the comments of `configs/edge.yaml`."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edge_app.config.models import TOPIC_PATTERN
from edge_app.config.problems import KeyPath

SECTION = "a section (indented lines of `key: value`)"
NAME_RULE = "a name of at most 64 letters, digits, `_`, `-` and `.` that begins with a letter or digit"
TOPIC_RULE = "one or more levels of a topic, joined by /, without + and #"
_UNITS = {
    "_s": "seconds",
    "_ms": "milliseconds",
    "_px": "pixels",
    "_bytes": "bytes",
    "_fps": "frames a second",
}


@dataclass(frozen=True, slots=True)
class Place:
    """What belongs at a path of the configuration.

    Attributes:
        annotation: The type.
        constraints: Its bounds, as pydantic keeps them.
        field: The key's own definition; None inside of lists and mappings.
    """

    annotation: Any
    constraints: tuple[Any, ...] = ()
    field: FieldInfo | None = None


def place_of(root: type[BaseModel], path: KeyPath, data: Any = None) -> Place | None:
    """Return what belongs at `path` below `root`, or None if nothing does.

    Args:
        root: The whole tree.
        path: The way to the place.
        data: The values of the tree, which say of sections of several kinds which one is meant.
    """
    place: Place | None = Place(root)
    for part in path:
        place = _below(place, part) if place else None
        data = data.get(part) if isinstance(data, dict) else None
        place = _of_its_kind(place, data) if place else None
    return place


def kinds_of(annotation: Any) -> dict[str, type[BaseModel]]:
    """Return the sections that an annotation has to choose from, by their `type`; empty if it has not."""
    sections = [
        kind for kind in alternatives(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)
    ]
    typed = [section for section in sections if "type" in section.model_fields]
    return {name: section for section in typed for name in choices(section.model_fields["type"].annotation)}


def _of_its_kind(place: Place, data: Any) -> Place:
    """Return the place of the section that is meant, if it is a choice of several and `data` says which."""
    wanted = data.get("type") if isinstance(data, dict) else None
    section = kinds_of(place.annotation).get(wanted) if isinstance(wanted, str) else None
    return place if section is None else Place(section, place.constraints, place.field)


def _below(place: Place, part: str | int) -> Place | None:
    for alternative in alternatives(place.annotation):
        origin, arguments = get_origin(alternative), get_args(alternative)
        if isinstance(alternative, type) and issubclass(alternative, BaseModel):
            field = alternative.model_fields.get(str(part))
            return Place(field.annotation, tuple(field.metadata), field) if field else None
        if origin is dict:
            return _unwrapped(arguments[1])
        if origin is tuple:
            return _unwrapped(arguments[0])
    return None


def _unwrapped(annotation: Any) -> Place:
    if get_origin(annotation) is not Annotated:
        return Place(annotation)
    inner, *metadata = get_args(annotation)
    constraints = [item for extra in metadata for item in getattr(extra, "metadata", [extra])]
    return Place(inner, tuple(constraints))


def alternatives(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, or the annotation itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        yield from get_args(annotation)
    else:
        yield annotation


def choices(annotation: Any) -> tuple[str, ...]:
    """Return the words that an enumeration or Literal accepts; empty for any other type."""
    for alternative in alternatives(annotation):
        if get_origin(alternative) is Literal:
            return get_args(alternative)
        if isinstance(alternative, type) and issubclass(alternative, Enum):
            return tuple(str(member.value) for member in alternative)
    return ()


def accepts(place: Place, wanted: Any) -> bool:
    """Whether a value of exactly this type belongs there."""
    return any(_unwrapped(kind).annotation == wanted for kind in alternatives(place.annotation))


def expectation(place: Place, key: str = "") -> str:
    """Say what belongs there, such as `a whole number of seconds from 5 to 3600`."""
    words: list[str] = []
    for alternative in alternatives(place.annotation):
        inner = _unwrapped(alternative)
        chosen = [quoted(word) for word in choices(alternative)]
        words += chosen or [_describe(inner.annotation, (*place.constraints, *inner.constraints), key)]
    named = [word for word in dict.fromkeys(words) if word != "null"]
    return join_or(named + ["null"] * ("null" in words))


def _describe(annotation: Any, constraints: Sequence[Any], key: str) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in (int, float):
        unit = next((f" of {name}" for suffix, name in _UNITS.items() if key.endswith(suffix)), "")
        number = "a whole number" if annotation is int else "a number"
        return f"{number}{unit}{bounds(constraints)}"
    if origin is tuple:
        length = "" if arguments[-1] is Ellipsis else f"{_COUNTS[len(arguments)]} "
        return f"a list of {length}{'numbers' if arguments[0] is float else 'texts'}"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return SECTION
    if annotation is str:
        pattern = next((item.pattern for item in constraints if getattr(item, "pattern", None)), None)
        if pattern is not None:
            return TOPIC_RULE if pattern == TOPIC_PATTERN else NAME_RULE
    return {bool: "true or false", str: f"text{_length(constraints)}"}.get(annotation, "null")


def _length(constraints: Sequence[Any]) -> str:
    most = next((item.max_length for item in constraints if hasattr(item, "max_length")), None)
    least = any(hasattr(item, "min_length") for item in constraints)
    return f" of 1 to {most} characters" if most else " that is not empty" if least else ""


_COUNTS = {2: "two", 3: "three", 4: "four"}


def bounds(constraints: Sequence[Any]) -> str:
    """Return ` from 1 to 64`, ` above 0 and at most 1000` and so on; empty without bounds."""
    names = ("ge", "gt", "le")
    found = {name: getattr(item, name) for item in constraints for name in names if hasattr(item, name)}
    if "gt" in found:
        most = f" and at most {found['le']:g}" if "le" in found else ""
        return f" above {found['gt']:g}{most}"
    return f" from {found['ge']:.12g} to {found['le']:.12g}" if len(found) == 2 else ""


def join_or(words: Sequence[str]) -> str:
    """Join words as in `a, b or c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def quoted(word: str) -> str:
    """Return a word as it is written in YAML: in quotes if it would be a number without them."""
    return f'"{word}"' if word.isdigit() else word
