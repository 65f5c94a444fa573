"""Relative paths in a configuration are relative to its file, wherever the program was started."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from edge_app.config.camera_uri import CameraKind, parse_camera_uri
from edge_app.config.models import (
    AppConfig,
    CalibrationSection,
    CameraSection,
    EngineSection,
    JsonlSinkSection,
    ModelSection,
    MqttSection,
    OutboxSection,
    Section,
    VerificationSection,
)
from edge_app.errors import ConfigError

_SectionT = TypeVar("_SectionT", bound=Section)
_BrokerT = TypeVar("_BrokerT", bound=MqttSection)
_ModelT = TypeVar("_ModelT", bound=ModelSection)
_SourceT = TypeVar("_SourceT", CalibrationSection, VerificationSection)


def resolve_path(text: str, base: Path) -> Path:
    """Return the absolute path that a text in a configuration in the directory `base` means."""
    try:
        return base / Path(text).expanduser()
    except RuntimeError:  # the home directory of `~` or `~name` is not known
        return base / text


def service_state_directory() -> Path | None:
    """Return where a service manager wants what must outlast a restart; None where it names no place."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(given) if given else None


def state_directory(key: str) -> Path:
    """Return where this user, or this service, keeps what must outlast a restart.

    systemd names the place in `STATE_DIRECTORY` (of several the first counts); otherwise it is the user's, by
    the XDG base directory specification.

    Args:
        key: The key of the configuration that names another place.

    Raises:
        ConfigError: This user has no home directory, and nothing names another place.
    """
    given = service_state_directory()
    if given is not None:
        return given
    home = os.environ.get("XDG_STATE_HOME")
    try:
        return (Path(home) if home else Path("~/.local/state").expanduser()) / "edge-app"
    except RuntimeError:
        raise ConfigError(
            f"{key} is null, and this user has no home directory.",
            hint=f"Name a directory in {key}, or set STATE_DIRECTORY, XDG_STATE_HOME or HOME.",
        ) from None


def outbox_directory(section: OutboxSection, key: str = "mqtt.outbox.directory") -> Path:
    """Return where the outboxes of a section lie; `key` and errors as in `state_directory`."""
    return Path(section.directory) if section.directory is not None else state_directory(key) / "outbox"


def jsonl_directory(section: JsonlSinkSection, key: str) -> Path:
    """Return where the files of a sink lie; `key` and errors as in `state_directory`."""
    return Path(section.directory) if section.directory is not None else state_directory(key) / "sinks"


def with_absolute_paths(config: AppConfig, base: Path) -> AppConfig:
    """Return the configuration with all its paths absolute; `demo` stays the name of the shipped model."""
    return config.model_copy(
        update={
            "model": _absolute_model(config.model, base),
            "engine": _absolute_engine(config.engine, base),
            "models": {
                name: _absolute_model(model, base).model_copy(
                    update={"engine": _absolute_engine(model.engine, base)}
                )
                for name, model in config.models.items()
            },
            "mqtt": _absolute_broker(config.mqtt, base),
            "sinks": {
                name: _absolute(sink, base, "directory")
                if isinstance(sink, JsonlSinkSection)
                else _absolute_broker(sink, base)
                for name, sink in config.sinks.items()
            },
            "camera_defaults": _absolute(config.camera_defaults, base, "password_file"),
            "cameras": {name: _absolute_camera(camera, base) for name, camera in config.cameras.items()},
        }
    )


def _absolute_model(model: _ModelT, base: Path) -> _ModelT:
    return _absolute(model, base, "labels", *(["path"] if model.path != "demo" else []))


def _absolute_engine(engine: EngineSection, base: Path) -> EngineSection:
    return _absolute(engine, base, "directory").model_copy(
        update={
            "calibration": _absolute_source(engine.calibration, base),
            "verification": _absolute_source(engine.verification, base),
        }
    )


def _absolute_source(section: _SourceT, base: Path) -> _SourceT:
    return _absolute(section, base, "source") if section.source and _is_path(section.source) else section


def _absolute_broker(section: _BrokerT, base: Path) -> _BrokerT:
    return _absolute(section, base, "password_file").model_copy(
        update={
            "tls": _absolute(section.tls, base, "ca_file", "cert_file", "key_file"),
            "outbox": _absolute(section.outbox, base, "directory"),
        }
    )


def _absolute_camera(camera: CameraSection, base: Path) -> CameraSection:
    return _absolute(camera, base, "password_file", *(["uri"] if _is_path(camera.uri) else []))


def _is_path(uri: str) -> bool:
    return parse_camera_uri(uri).kind is CameraKind.FILE


def _absolute(section: _SectionT, base: Path, *keys: str) -> _SectionT:
    texts = {key: getattr(section, key) for key in keys}
    paths = {key: str(resolve_path(text, base)) for key, text in texts.items() if isinstance(text, str)}
    return section.model_copy(update=paths) if paths else section
