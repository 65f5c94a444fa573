"""What pydantic refused, as problems that name the place, what was expected, what was found, and a remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from edge_app.config.describe import (
    NAME_RULE,
    SECTION,
    Place,
    accepts,
    choices,
    expectation,
    join_or,
    kinds_of,
    place_of,
    quoted,
)
from edge_app.config.problems import KeyPath, shorten
from edge_app.config.secrets import redact_uri
from edge_app.config.yaml_reader import Spot

_SECRET_KEY = re.compile(r"pass|pwd|secret|token|credential", re.IGNORECASE)
_SECRET_PAIR = re.compile(r"(pass\w*\s*[:=]).*", re.IGNORECASE)
_TRUE_WORDS = frozenset({"on", "yes", "y", "true", "1"})
_FALSE_WORDS = frozenset({"off", "no", "n", "false", "0"})
_SECONDS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_REFERENCE_HINT = (
    "the configuration never holds a password: write it into a file and name that in password_file "
    "(or use password_env or password_credential)"
)
_CAMERA_FORM = "write each camera as its name, a colon, and indented below it uri: and its other keys"


def explain_unknown(root: type[BaseModel], path: KeyPath, data: Any) -> tuple[str, str | None]:
    """Return message and hint for a key that does not exist; `data` is the values of the tree."""
    key, place = str(path[-1]), place_of(root, path[:-1], data)
    fields = list(place.annotation.model_fields) if place else []
    message = "unknown key"
    if _SECRET_KEY.search(key) and "password_file" in fields and not key.startswith("password_"):
        return message, _REFERENCE_HINT
    close = difflib.get_close_matches(key.lower().replace("-", "_"), fields, 1, cutoff=0.6)
    elsewhere = _sections_with(root, key)
    if close:
        return message, f"did you mean {close[0]}?"
    if elsewhere:
        return message, f"{key} belongs to {elsewhere}"
    return message, f"the keys here are {', '.join(fields)}"


def _sections_with(root: type[BaseModel], key: str) -> str | None:
    sections = [
        name
        for name, field in root.model_fields.items()
        if isinstance(field.annotation, type)
        and issubclass(field.annotation, BaseModel)
        and key in field.annotation.model_fields
    ]
    return f"the section {sections[0]}" if sections else None


def explain_kind(place: Place, value: Any) -> tuple[str, str | None]:
    """Return message and hint for a `type` that is missing, or that no section has."""
    kinds = list(kinds_of(place.annotation))
    if value is None:
        return "type is missing", f"write type: {' or type: '.join(kinds)}"
    close = difflib.get_close_matches(str(value).lower(), kinds, 1)
    return f"must be {join_or(kinds)}, found {show(value)}", f"did you mean {close[0]}?" if close else None


def explain_missing(path: KeyPath) -> tuple[str, str | None]:
    """Return message and hint for a required key that is not there."""
    if path[-1] == "uri" and path[0] == "sinks":
        return "uri is missing", "say where the broker is, as in uri: mqtt://host"
    if path[-1] == "uri":
        return "uri is missing", "say where the video comes from, as in uri: rtsp://host/path"
    if path[-1] == "path":
        return "path is missing", "name an .onnx file, a .yaml that describes one, or demo"
    return f"{path[-1]} is missing", None


def explain_name(name: str) -> tuple[str, str | None]:
    """Return message and hint for a name that cannot be a level of a topic."""
    message = f"must be {NAME_RULE}"
    tidy = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._")[:64]
    reason = "+, # and / have a meaning in MQTT topics; " if re.search(r"[+#/]", name) else ""
    tidy = tidy if redact_uri(name) == name else ""
    return f"{message}, found {show(name)}", f"{reason}write {tidy}" if tidy else None


def explain_value(place: Place, path: KeyPath, value: Any, spot: Spot | None) -> tuple[str, str | None]:
    """Return message and hint for a value of the wrong type or out of its bounds."""
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    wanted = expectation(place, key)
    if any(_SECRET_KEY.search(str(part)) for part in path):
        hint = "write text in quotes: where the password is to be found, not the password itself"
        return f"must be {wanted}, found something else (not shown)", hint
    found = show(value, spot)
    if isinstance(value, str) and _is_name(place):
        return explain_name(value)
    return f"must be {wanted}, found {found}", _remedy(place, path, key, value, spot)


def show(value: Any, spot: Spot | None = None) -> str:
    """Say what was found, shortened and without credentials."""
    if isinstance(value, str):
        quotes = " in quotes" if spot and spot.quoted else ""
        text = _SECRET_PAIR.sub(r"\1 ***", redact_uri(repr(value)))
        return f"the text {shorten(text)}{quotes}" if value else "an empty text"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {shorten(spot.source if spot and spot.source else str(value))}"
    if value is None:
        return "nothing"
    return "a section" if isinstance(value, Mapping) else f"a list of {len(value)}"


def _is_name(place: Place) -> bool:
    return NAME_RULE in expectation(place)


def _remedy(place: Place, path: KeyPath, key: str, value: Any, spot: Spot | None) -> str | None:
    """Return the most helpful advice that there is."""
    if expectation(place) == SECTION or not (place.field or path):
        return _section_remedy(path, value)
    default = _default(place)
    remedy = None
    if value is None:
        remedy = f"remove the line to get the default, {default}" if default else None
    elif isinstance(value, str):
        remedy = _text_remedy(place, key, value, spot)
    elif isinstance(value, (bool, int, float)):
        remedy = _number_remedy(place, key, value, spot)
    return remedy or (f"the default is {default}" if default else None)


_SINK_FORM = "a sink is a section of its own below its name, with at least type: mqtt or type: jsonl"
_MODEL_FORM = "a model is a section of its own below its name, with at least path: FILE.onnx"


def _section_remedy(path: KeyPath, value: Any) -> str | None:
    if path[:1] == ("cameras",):
        if value is None and len(path) == 1:
            return f"{_CAMERA_FORM}; `cameras: {{}}` means none"
        return _CAMERA_FORM
    if path[:1] == ("models",) and len(path) <= 2:
        return _MODEL_FORM
    if path[:1] == ("sinks",) and len(path) <= 2:
        return _SINK_FORM
    if isinstance(value, str) and re.match(r"\w+:\S", value):
        return "a space is needed after the colon"
    if value is None:
        return "remove the line to get the defaults, or indent the keys below it"
    return None


def _default(place: Place) -> str | None:
    default = place.field.default if place.field and not place.field.is_required() else None
    if isinstance(default, str):
        return quoted(default)
    return str(default).lower() if isinstance(default, (int, float)) else None


def _text_remedy(place: Place, key: str, text: str, spot: Spot | None) -> str | None:
    words = choices(place.annotation)
    if words:
        close = difflib.get_close_matches(text.lower(), words, 1)
        return f"did you mean {quoted(close[0])}?" if close else None
    if text and accepts(place, tuple[str, ...]):
        return f"write [{shorten(redact_uri(text))}]"
    if accepts(place, bool):
        return _boolean(text, quoted=bool(spot and spot.quoted))
    if accepts(place, int) or accepts(place, float):
        number = _number(text, key, percent=accepts(place, float))
        if number is None:
            return None
        return (
            f"remove the quotes: {number}" if spot and spot.quoted and number == text else f"write {number}"
        )
    return None


def _boolean(text: str, *, quoted: bool) -> str:
    word = text.strip().lower()
    meant = "true" if word in _TRUE_WORDS else "false" if word in _FALSE_WORDS else "true or false"
    return f"remove the quotes: {meant}" if quoted and word == meant else f"write {meant}"


def _number(text: str, key: str, *, percent: bool) -> str | None:
    """Return the number that a text was meant to be, as it should be written."""
    plain = text.strip().replace("_", "")
    if re.fullmatch(r"[-+]?[0-9]{1,20}(\.[0-9]{1,20})?", plain, re.ASCII):
        sign, digits = re.fullmatch(r"([-+]?)0*([0-9].*)", plain).groups()  # type: ignore[union-attr]
        return f"{sign.replace('+', '')}{digits}"
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}|0[oO][0-7]{1,16}|0[bB][01]{1,16}", plain):
        return str(int(plain, 0))
    if re.fullmatch(r"[0-9]{1,20},[0-9]{1,20}", plain, re.ASCII):
        return plain.replace(",", ".")
    if percent and (match := re.fullmatch(r"([0-9]{1,3}) ?%", plain, re.ASCII)):
        return f"{int(match[1]) / 100:g}"
    return _duration(plain, key)


def _duration(text: str, key: str) -> str | None:
    unit_s = 0.001 if key.endswith("_ms") else 1.0 if key.endswith("_s") else None
    if unit_s is None:
        return None
    if match := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|sec|m|min|h)", text, re.ASCII):
        return f"{float(match[1]) * _SECONDS[match[2]] / unit_s:.12g}"
    if match := re.fullmatch(r"(?:([0-9]{1,4}):)?([0-9]{1,4}):([0-9]{1,2})", text, re.ASCII):
        seconds = int(match[1] or 0) * 3600 + int(match[2]) * 60 + int(match[3])
        return f"{seconds / unit_s:.12g}"
    return None


def _number_remedy(place: Place, key: str, value: float, spot: Spot | None) -> str | None:
    source = spot.source if spot and spot.source else str(value)
    if key == "uri":
        return f"a USB camera is v4l2:///dev/video{source}, a CSI camera csi://{source}"
    if choices(place.annotation) and source in choices(place.annotation):
        return f'put it in quotes: "{source}"'
    if accepts(place, str):
        return f'put it in quotes: "{source}"'
    if accepts(place, bool):
        return _boolean(source, quoted=False) if source in ("0", "1") else "write true or false"
    if accepts(place, int) and isinstance(value, float) and value.is_integer():
        return f"write {value:.0f}"
    return None
