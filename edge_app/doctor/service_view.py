"""What the service finds of its configuration: asked of a child, as the service's user where we are root.

Root reads every file and writes everywhere; what only root can do is of no use to the service.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edge_app.app.engines import engine_directory
from edge_app.app.model import describe
from edge_app.config.loader import load_config
from edge_app.config.models import AppConfig, JsonlSinkSection, MqttSection, MqttSinkSection, SecretReference
from edge_app.config.paths import jsonl_directory, outbox_directory
from edge_app.config.per_model import cameras_by_model, config_of_model
from edge_app.config.secret_names import password_references
from edge_app.config.secrets import resolve_password
from edge_app.doctor.machine import Machine
from edge_app.errors import EdgeAppError
from edge_app.files.place import why_not_writable

_ASK = "from edge_app.doctor.service_view import main; main()"


@dataclass(frozen=True)
class Place:
    """A directory that the service writes to, and why it cannot; None: it can, but for the unit's fences."""

    path: str
    why: str | None = None


@dataclass(frozen=True)
class ServiceView:
    """What was found, free of secrets.

    Attributes:
        user: Whose eyes these are, if they are not ours.
        error: Why the configuration cannot be used, or the child did not answer.
        secrets: Why password files cannot be used, by the keys of their sections.
        warnings: What is wrong with those that can.
        files: Why models and files of TLS cannot be read.
        places: Directories that are written to, by their keys; `engine.directory` of further models too.
    """

    user: str | None = None
    error: str | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)


def ask_service(machine: Machine, path: Path) -> ServiceView:
    """Look at a configuration as the service does.

    Args:
        machine: Whose child is asked.
        path: The configuration, absolute.
    """
    user = machine.child_user()
    name = None if user is None else user.name
    answer = machine.python(_ASK, str(path))
    if answer is None or answer.status != 0:
        last = (answer.errors.splitlines() if answer else [])[-1:] or ["it took too long"]
        return ServiceView(name, f"it could not be looked at: {last[0]}")
    told = json.loads(answer.output.splitlines()[-1])
    places = {key: Place(**place) for key, place in told.pop("places").items()}
    return ServiceView(**{**told, "user": name, "places": places})


def main() -> None:
    """Print what this user finds as JSON; argument: the configuration."""
    sys.stdout.write(json.dumps(asdict(look(Path(sys.argv[1])))) + "\n")


def look(path: Path) -> ServiceView:
    """Look at a configuration as this user."""
    try:
        config = load_config(path).config
    except EdgeAppError as error:
        return ServiceView(error=error.message)
    secrets: dict[str, str] = {}
    warnings: list[str] = []
    for where, reference in password_references(config).items():
        if reference.password_file is None:
            continue  # systemd passes the others
        file = SecretReference(password_file=reference.password_file)
        try:
            resolve_password(file, where, {}, warnings.append)
        except EdgeAppError as error:
            secrets[where] = error.message
    return ServiceView(None, None, secrets, warnings, list(_files(config)), dict(_places(config)))


def _files(config: AppConfig) -> Iterator[str]:
    for name in cameras_by_model(config):
        why = _why_no_model(config_of_model(config, name))
        if why is not None:
            yield why
    for where, broker in _brokers(config):
        for key in ("ca_file", "cert_file", "key_file"):
            file = getattr(broker.tls, key)
            try:
                if file is not None:
                    Path(file).open("rb").close()
            except (OSError, ValueError) as error:
                yield f"{where}.tls.{key}: {file} cannot be read: {getattr(error, 'strerror', error)}."


def _why_no_model(config: AppConfig) -> str | None:
    try:
        describe(config)
    except EdgeAppError as error:
        return error.message
    return None


def _brokers(config: AppConfig) -> Iterator[tuple[str, MqttSection]]:
    yield "mqtt", config.mqtt
    for name, sink in config.sinks.items():
        if isinstance(sink, MqttSinkSection) and sink.enabled:
            yield f"sinks.{name}", sink


def _places(config: AppConfig) -> Iterator[tuple[str, Place]]:
    found: dict[str, Path] = {}
    with suppress(EdgeAppError):  # told by what needs it
        for name in cameras_by_model(config):
            key = "engine.directory" if name is None else f"models.{name}.engine.directory"
            of_model = config_of_model(config, name)
            if of_model.inference.backend != "onnxruntime":
                found[key] = engine_directory(of_model.engine)
    for where, broker in _brokers(config):
        if broker.delivery.detections == "durable":
            with suppress(EdgeAppError):
                found[f"{where}.outbox.directory"] = outbox_directory(broker.outbox)
    for name, sink in config.sinks.items():
        if isinstance(sink, JsonlSinkSection) and sink.enabled:
            with suppress(EdgeAppError):
                key = f"sinks.{name}.directory"
                found[key] = jsonl_directory(sink, key)
    for key, path in found.items():
        yield key, Place(str(path.absolute()), why_not_writable(path.absolute()))
