"""Relative paths in a configuration are relative to its file, wherever the program was started."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from edge_app.config.camera_uri import CameraKind, parse_camera_uri
from edge_app.config.models import AppConfig, CameraSection, Section

_SectionT = TypeVar("_SectionT", bound=Section)


def resolve_path(text: str, base: Path) -> Path:
    """Return the absolute path that a text in a configuration in the directory `base` means."""
    try:
        return base / Path(text).expanduser()
    except RuntimeError:  # the home directory of `~` or `~name` is not known
        return base / text


def with_absolute_paths(config: AppConfig, base: Path) -> AppConfig:
    """Return the configuration with all its paths absolute; `demo` stays the name of the shipped model."""
    model, mqtt = config.model, config.mqtt
    tls = _absolute(mqtt.tls, base, "ca_file", "cert_file", "key_file")
    return config.model_copy(
        update={
            "model": _absolute(model, base, "labels", *(["path"] if model.path != "demo" else [])),
            "mqtt": _absolute(mqtt, base, "password_file").model_copy(update={"tls": tls}),
            "camera_defaults": _absolute(config.camera_defaults, base, "password_file"),
            "cameras": {name: _absolute_camera(camera, base) for name, camera in config.cameras.items()},
        }
    )


def _absolute_camera(camera: CameraSection, base: Path) -> CameraSection:
    is_path = parse_camera_uri(camera.uri).kind is CameraKind.FILE
    return _absolute(camera, base, "password_file", *(["uri"] if is_path else []))


def _absolute(section: _SectionT, base: Path, *keys: str) -> _SectionT:
    texts = {key: getattr(section, key) for key in keys}
    paths = {key: str(resolve_path(text, base)) for key, text in texts.items() if isinstance(text, str)}
    return section.model_copy(update=paths) if paths else section
