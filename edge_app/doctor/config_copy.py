"""The configuration as a bundle holds it: made anew from its values, of which only harmless ones stay.

People type passwords into any key, and call keys as they like. So a value stays only where the schema says
what belongs there, and it is that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel

from edge_app.config.broker_uri import DEFAULT_PATH, parse_broker_uri
from edge_app.config.camera_uri import CameraKind, parse_camera_uri
from edge_app.config.describe import Place, accepts, alternatives, choices, place_of
from edge_app.config.listen_address import parse_listen_address
from edge_app.config.models import AppConfig
from edge_app.config.paths import resolve_path
from edge_app.config.problems import KeyPath
from edge_app.config.secrets import HIDDEN
from edge_app.config.yaml_reader import MAX_BYTES, read_yaml
from edge_app.errors import ConfigError
from edge_app.files.bounded import read_start

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_UNKNOWN_KEY = re.compile(r"[A-Za-z_]{1,40}")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_LABEL = re.compile(r"[\w .-]{1,64}")
_ELEMENT = re.compile(r"[a-z][a-z0-9]+")
_LINE = re.compile(r"(\s*(?:- +)?)[\"']?([A-Za-z_]+)[\"']?\s*:(?:\s.*)?")
_NAMES = ("cameras", "models", "sinks")
_PLAIN = frozenset({"directory", "ca_file", "cert_file", "key_file", "path", "labels", "classes"})
"""Keys whose texts stay: files that are no secrets, and names of classes."""

HEADER = (
    "# Made by edge-app doctor from the file's values, without its comments. *** stands for user names, for\n"
    "# what follows the host in an address, and for whatever may be a password."
)


def config_copy(path: Path, credentials: Collection[str]) -> str:
    """Return what a bundle holds of a configuration, as YAML.

    Args:
        path: The file.
        credentials: Names of systemd credentials that there are, and so are no passwords in a wrong place.
    """
    try:
        content = read_start(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        return f"# cannot be read: {error}"
    document = read_yaml(content, str(path))
    if not document.complete or not isinstance(document.data, dict):
        return f"{HEADER}\n# It is no YAML: its known keys, line by line.\n{_keys(content)}"
    tree = _Copy(document.data, path.absolute().parent, credentials).of(document.data, ())
    return f"{HEADER}\n{yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=1000)}"


def _keys(content: bytes) -> str:
    """Return the lines of a file with the keys that the schema knows, and nothing else of them."""
    known = _known_keys(AppConfig)
    lines = []
    for line in content.decode("utf-8", "replace").splitlines():
        found = _LINE.fullmatch(line)
        if found is not None and found[2] in known:
            lines.append(f"{found[1]}{found[2]}:")
        else:
            lines.append(f"# {HIDDEN}" if line.strip() else "")
    return "\n".join(lines)


def _known_keys(section: type[BaseModel]) -> set[str]:
    known: set[str] = set()
    for name, field in section.model_fields.items():
        known.add(name)
        kinds = [kind for outer in alternatives(field.annotation) for kind in (outer, *_arguments(outer))]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                known |= _known_keys(kind)
    return known


def _arguments(annotation: Any) -> list[Any]:
    """Return all types that a type is made of, however deep."""
    inner = list(getattr(annotation, "__args__", ()))
    return inner + [deeper for one in inner for deeper in _arguments(one)]


class _Copy:
    """Copies a tree of values.

    Args:
        data: The whole tree, which says of sections of several kinds which one is meant.
        base: The directory that relative paths are relative to.
        credentials: As above.
    """

    def __init__(self, data: Mapping[str, Any], base: Path, credentials: Collection[str]) -> None:
        self._data, self._base = data, base
        self._special: dict[str, Callable[[str], bool | str]] = {
            "uri": self._uri,
            "source": self._uri,
            "address": lambda text: _is_good(parse_listen_address, text),
            "password_file": self._is_there,
            "password_env": lambda text: _VARIABLE.fullmatch(text) is not None,
            "password_credential": lambda text: text in credentials,
        }

    def of(self, value: Any, path: KeyPath) -> Any:
        """Return the copy of a value; `***` for what the schema does not know or does not want there."""
        place = place_of(AppConfig, path, self._data)
        if place is None:
            return None if value is None else HIDDEN
        if isinstance(value, dict):
            return {
                key: self.of(inner, (*path, name)) if key == name else HIDDEN
                for name, inner in value.items()
                for key in [self._key(name, path)]
            }
        if isinstance(value, list):
            return [self.of(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str):
            return self._text(value, place, path)
        return value if value is None or _takes(place, value) else HIDDEN

    def _key(self, name: str, path: KeyPath) -> str:
        if path[-1:] == ("class_confidence",):
            return name if _LABEL.fullmatch(name) else HIDDEN
        named = len(path) == 1 and path[0] in _NAMES
        known = place_of(AppConfig, (*path, name), self._data) is not None
        pattern = _NAME if named else _UNKNOWN_KEY
        return name if (known and not named) or pattern.fullmatch(name) else HIDDEN

    def _text(self, text: str, place: Place, path: KeyPath) -> str:
        key = next(part for part in reversed(path) if isinstance(part, str))
        if text in choices(place.annotation):
            return text
        if key in self._special:
            shown = self._special[key](text)
            return shown if isinstance(shown, str) else text if shown else HIDDEN
        name = key in ("name", "model", "root", "prefix", "topic")
        harmless = key in _PLAIN or (name and all(map(_NAME.fullmatch, text.split("/"))))
        return text if harmless and accepts(place, str) and "@" not in text else HIDDEN

    def _uri(self, uri: str) -> str:
        try:
            camera = parse_camera_uri(uri)
        except ConfigError:
            return _broker(uri)
        if camera.on_network:
            return _address(uri)
        if camera.kind is CameraKind.GSTREAMER:
            return _elements(camera.location)
        if camera.kind is CameraKind.FILE:
            folder = re.sub(r"/[^/]*[*?\[].*", "", uri)  # of a glob
            return uri if self._is_there(folder) else HIDDEN
        return uri

    def _is_there(self, text: str) -> bool:
        try:
            return resolve_path(text, self._base).exists()
        except (OSError, ValueError):
            return False


def _takes(place: Place, value: float) -> bool:
    """Whether a number or truth value belongs there."""
    kinds = (bool,) if isinstance(value, bool) else (int, float) if isinstance(value, int) else (float,)
    return any(accepts(place, kind) for kind in kinds)


def _is_good(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ConfigError:
        return False
    return True


def _broker(uri: str) -> str:
    if not _is_good(parse_broker_uri, uri):
        return HIDDEN
    default = parse_broker_uri(uri).path in (None, DEFAULT_PATH)
    return uri if default else _address(uri)


def _address(uri: str) -> str:
    """Return scheme, host and port: where a camera is; its path may be all that opens it."""
    parts = urlsplit(uri)
    inside = f"/{HIDDEN}" if parts.path.strip("/") or parts.query or parts.fragment else ""
    return f"{parts.scheme}://{parts.netloc}{inside}"


def _elements(pipeline: str) -> str:
    """Return the elements of a GStreamer pipeline without their properties."""
    elements = [part.split() for part in re.split(r"\s!\s", pipeline)]
    if re.search(r"[\"'\\]", pipeline) or not all(part and _ELEMENT.fullmatch(part[0]) for part in elements):
        return f"gst://{HIDDEN}"
    return "gst://" + " ! ".join(part[0] + f" {HIDDEN}" * (len(part) > 1) for part in elements)
