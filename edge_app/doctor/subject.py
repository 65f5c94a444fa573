"""What is examined: the configuration, if there is one, with the passwords that it refers to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edge_app.config.camera_uri import CameraKind, parse_camera_uri
from edge_app.config.loader import LoadedConfig, load_config, require_cameras
from edge_app.config.models import CameraSection, JsonlSinkSection, MqttSinkSection
from edge_app.config.paths import resolve_path
from edge_app.config.per_model import cameras_by_model, config_of_model
from edge_app.config.secret_names import password_references
from edge_app.config.secrets import SecretRegistry, resolve_password
from edge_app.config.yaml_reader import MAX_BYTES
from edge_app.doctor.machine import Machine
from edge_app.doctor.unit import INSTALLED_CONFIG, service_credentials, service_environment, service_of
from edge_app.errors import ConfigError
from edge_app.files.bounded import read_start

CREDENTIALS = "/etc/edge-app/credentials"
BROKER = "mqtt"
_MOST_BYTES = 4096
_REFERENCE = re.compile(r"(password_file|password_env)[\"']?\s*:[ \t]*([^\s#,}]+)")


@dataclass(frozen=True)
class Subject:
    """What is examined.

    Attributes:
        machine: Where.
        path: The configuration file; None where none was named and none is installed.
        loaded: It, read and found good; None otherwise.
        error: Why it could not be read or used.
        secrets: Every password that could be found, to be hidden in all that is told.
        passwords: Of the broker (`mqtt`), of further ones (`sinks.NAME`) and of cameras (`cameras.NAME`), of
            what is enabled; absent where there is none.
        missing: Why a password that is referred to could not be had, by the same keys.
        environment: In which passwords are looked up: our own variables, in their place those of the unit.
        given: The credentials of the unit, where it takes them from; None where that is not known: those of
            the variable CREDENTIALS_DIRECTORY are.
        warnings: What is wrong with passwords that could be had.
    """

    machine: Machine
    path: Path | None = None
    loaded: LoadedConfig | None = None
    error: ConfigError | None = None
    secrets: SecretRegistry = field(default_factory=SecretRegistry)
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    missing: Mapping[str, ConfigError] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    given: Mapping[str, Path | bytes | None] | None = field(default=None, repr=False)
    warnings: Sequence[str] = ()

    @property
    def credentials(self) -> frozenset[str]:
        """The names of the service's credentials."""
        stored = (file.name for file in self.machine.glob(f"{CREDENTIALS}/*"))
        return frozenset((*stored, *(self.given or ())))

    @property
    def service(self) -> str:
        """The unit that runs it."""
        return service_of(self.machine, self.path)

    @property
    def of_service(self) -> bool:
        """Whether it is what the installed service runs with, or lies beside it."""
        folder = self.machine.path(INSTALLED_CONFIG).parent
        return self.path is not None and folder in self.path.absolute().parents

    @property
    def cameras(self) -> dict[str, CameraSection]:
        """The cameras that are enabled."""
        cameras = {} if self.loaded is None else self.loaded.config.cameras
        return {name: camera for name, camera in cameras.items() if camera.enabled}

    @property
    def sinks(self) -> dict[str, MqttSinkSection | JsonlSinkSection]:
        """The sinks that are enabled."""
        sinks = {} if self.loaded is None else self.loaded.config.sinks
        return {name: sink for name, sink in sinks.items() if sink.enabled}

    @property
    def kinds(self) -> frozenset[CameraKind]:
        """The kinds of the enabled cameras."""
        return frozenset(parse_camera_uri(camera.uri).kind for camera in self.cameras.values())

    @property
    def backends(self) -> dict[str | None, str]:
        """What runs each model that is used, by its name: auto, tensorrt or onnxruntime."""
        if self.loaded is None:
            return {}
        config = self.loaded.config
        return {name: config_of_model(config, name).inference.backend for name in cameras_by_model(config)}


def open_subject(path: Path | None, machine: Machine) -> Subject:
    """Read the configuration that is named, or the installed one; what is wrong with it is kept."""
    if path is None:
        installed = machine.path(INSTALLED_CONFIG)
        path = installed if installed.exists() else None
    secrets = SecretRegistry()
    for secret in _stored_credentials(machine):
        secrets.add(secret)
    if path is None:
        return Subject(machine, secrets=secrets)
    service = service_of(machine, path)
    environment = _environment(machine, service)
    given = None if "CREDENTIALS_DIRECTORY" in os.environ else service_credentials(machine, service)
    for secret in (*_referenced(path, environment), *_contents(given or {})):
        secrets.add(secret)
    try:
        loaded = load_config(path)
        require_cameras(loaded)
    except ConfigError as error:
        return Subject(machine, path, error=error, secrets=secrets, environment=environment, given=given)
    passwords: dict[str, str] = {}
    missing: dict[str, ConfigError] = {}
    warnings: list[str] = []
    for where, reference in password_references(loaded.config).items():
        try:
            password = resolve_password(reference, where, environment, warnings.append, given)
        except ConfigError as error:
            missing[where] = error
            continue
        if password is not None:
            passwords[where] = password
            secrets.add(password)
    return Subject(machine, path, loaded, None, secrets, passwords, missing, environment, given, warnings)


def _referenced(path: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield what a configuration refers to as a secret, also one that cannot be used for other reasons."""
    try:
        text = read_start(path, MAX_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return
    for key, value in _REFERENCE.findall(text):
        name = value.strip("'\"")
        if key.endswith("env"):
            yield environment.get(name, "")
            continue
        with suppress(OSError, ValueError):
            file = resolve_path(name, path.absolute().parent)
            yield from read_start(file, _MOST_BYTES).decode("utf-8", "replace").splitlines()[:1]


def _environment(machine: Machine, service: str) -> dict[str, str]:
    given = os.environ.get("CREDENTIALS_DIRECTORY") or str(machine.path(CREDENTIALS))
    return {**os.environ, **service_environment(machine, service), "CREDENTIALS_DIRECTORY": given}


def _contents(credentials: Mapping[str, Path | bytes | None]) -> Iterator[str]:
    for source in credentials.values():
        if source is None:
            continue
        with suppress(OSError, ValueError):
            content = source if isinstance(source, bytes) else read_start(source, _MOST_BYTES)
            yield from content.decode("utf-8", "replace").splitlines()


def _stored_credentials(machine: Machine) -> Iterator[str]:
    for file in machine.glob(f"{CREDENTIALS}/*"):
        content = machine.read(f"/{file.relative_to(machine.root)}")
        if content:
            yield from content.splitlines()
