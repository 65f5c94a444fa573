"""From plain values to the typed tree, with all that is wrong on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge_app.config.checks import PASSWORD_KEYS, Finding, cross_check
from edge_app.config.describe import place_of
from edge_app.config.explain import (
    explain_kind,
    explain_missing,
    explain_name,
    explain_unknown,
    explain_value,
)
from edge_app.config.models import AppConfig, CameraDefaults
from edge_app.config.problems import KeyPath
from edge_app.config.sink_checks import check_sinks
from edge_app.config.yaml_reader import Document

_PLACEHOLDERS: dict[KeyPath, str] = {
    ("cameras", "uri"): "scene://street",
    ("models", "path"): "demo",
    ("sinks", "uri"): "mqtt://localhost",
}
"""What stands for a required key, below each name, while the rest is checked."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """One error of pydantic's; `of_key` means that the mapping's key is wrong, not its value."""

    path: KeyPath
    kind: str
    of_key: bool = False


def validate(document: Document, base: Path) -> tuple[AppConfig, list[Finding]]:
    """Return the configuration, as far as it is right, and what is wrong with the rest.

    Wrong keys are taken out and the rest is validated again, so that the rules between keys are checked too.

    Args:
        document: A file's values, a mapping at the top.
        base: The directory that relative paths are relative to.
    """
    data = _with_camera_defaults(document.data)
    findings: list[Finding] = []
    faulty: set[KeyPath] = set(document.refused)
    config = None
    while config is None:
        config, faults = _attempt(data)
        for fault in faults:
            if fault.path not in document.refused and not _is_inherited(fault.path, document.data):
                findings.append(_explain(fault, data, document))
            faulty.add(fault.path)
        for path in faulty:
            _take_out(data, path)
    for finding in chain(cross_check(config, base), check_sinks(config)):
        inherited = _is_inherited(finding.path, document.data) and not finding.even_inherited
        paths = (finding.path, *finding.others)
        if not inherited and not any(path[: len(bad)] == bad for path in paths for bad in faulty):
            findings.append(finding)
    return config, findings


def _attempt(data: Any) -> tuple[AppConfig | None, list[_Fault]]:
    # JSON: only from there does pydantic's strict mode take lists for tuples and texts for enums
    try:
        return AppConfig.model_validate_json(json.dumps(data)), []
    except ValidationError as error:
        return None, list(_faults(error, data))


def _with_camera_defaults(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the tree in which cameras have what `camera_defaults` says and they do not.

    A camera that names any of the three places of a password replaces that of the defaults.
    """
    merged: dict[str, Any] = json.loads(json.dumps(data))
    defaults, cameras = merged.get("camera_defaults"), merged.get("cameras")
    if not isinstance(defaults, dict) or not isinstance(cameras, dict):
        return merged
    for name, camera in cameras.items():
        if isinstance(camera, dict):
            own = set(PASSWORD_KEYS) if camera.keys() & set(PASSWORD_KEYS) else set()
            known = CameraDefaults.model_fields.keys() - own
            cameras[name] = {key: value for key, value in defaults.items() if key in known} | camera
    return merged


def _is_inherited(path: KeyPath, data: Any) -> bool:
    """Whether a camera's key stands in `camera_defaults` only, where it is reported once."""
    if path[:1] != ("cameras",) or len(path) < 3 or path[2] not in CameraDefaults.model_fields:
        return False
    camera, defaults = data["cameras"].get(path[1]), data.get("camera_defaults")
    return path[2] not in camera and isinstance(defaults, dict) and path[2] in defaults


def _faults(error: ValidationError, data: Any) -> Iterator[_Fault]:
    """Yield pydantic's errors, one for each value: a union reports each of its members."""
    faults = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        location, kind = item["loc"], item["type"]
        of_key = location[-1] == "[key]"
        faults.append(_Fault(_real_path(location[:-1] if of_key else location, kind, data), kind, of_key))
    values = [fault.path for fault in faults if not fault.of_key]
    said: set[tuple[KeyPath, bool]] = set()
    for fault in faults:
        deeper = any(len(path) > len(fault.path) and path[: len(fault.path)] == fault.path for path in values)
        if (fault.path, fault.of_key) not in said and (fault.of_key or not deeper):
            said.add((fault.path, fault.of_key))
            yield fault


def _real_path(location: tuple[str | int, ...], kind: str, data: Any) -> KeyPath:
    """Return a pydantic location without the names of union members and the indices of missing items."""
    path: list[str | int] = []
    for part in location:
        if isinstance(data, dict) and (part in data or (kind == "missing" and part == location[-1])):
            data = data.get(str(part))
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _explain(fault: _Fault, data: Any, document: Document) -> Finding:
    path, value = fault.path, data
    for part in path:
        value = value.get(part) if isinstance(value, dict) else value[part]
    if fault.of_key:
        return Finding(path, *explain_name(str(path[-1])))
    if fault.kind == "extra_forbidden":
        return Finding(path, *explain_unknown(AppConfig, path, data))
    if fault.kind in ("union_tag_not_found", "union_tag_invalid"):
        place = place_of(AppConfig, path)
        assert place is not None  # noqa: S101 - pydantic has found the choice there
        return Finding((*path, "type"), *explain_kind(place, value.get("type")))
    if fault.kind == "missing" and isinstance(path[-1], str) and value is None:
        return Finding(path, *explain_missing(path))
    place = place_of(AppConfig, path, data)
    if place is None:
        raise LookupError(path)
    return Finding(path, *explain_value(place, path, value, document.spots.get(path)))


def _take_out(data: Any, path: KeyPath) -> None:
    """Remove what cannot be used, so that the rest can be validated."""
    placeholder = _PLACEHOLDERS.get((path[0], *path[2:])) if path else None
    if placeholder is not None and path[1] in data[path[0]]:
        data[path[0]][path[1]][path[2]] = placeholder
        return
    lists = [index for index, part in enumerate(path) if isinstance(part, int)]
    path = path[: lists[0]] if lists else path
    for part in path[:-1]:
        data = data.get(part) if isinstance(data, dict) else None
    if isinstance(data, dict):
        data.pop(path[-1], None)
