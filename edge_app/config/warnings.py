"""What a good configuration may lack later, or has that is not safe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from edge_app.config.camera_uri import CameraKind, parse_camera_uri
from edge_app.config.checks import PASSWORD_KEYS
from edge_app.config.labels import known_labels, without_model
from edge_app.config.listen_address import parse_listen_address
from edge_app.config.loader import LoadedConfig
from edge_app.config.models import (
    AppConfig,
    HomeAssistantSection,
    MqttSection,
    MqttSinkSection,
    OutboxSection,
)
from edge_app.config.paths import jsonl_directory, outbox_directory
from edge_app.config.per_model import cameras_by_model, config_of_model
from edge_app.config.secret_names import name_warnings
from edge_app.config.secrets import rights_of_all
from edge_app.errors import ConfigError
from edge_app.files.place import why, why_no_file, why_unusable


def config_warnings(
    loaded: LoadedConfig,
    environment: Mapping[str, str] | None = None,
    credentials: Mapping[str, Path | bytes | None] | None = None,
) -> Iterator[str]:
    """Return what of a good configuration may be missing later, or is not safe.

    Args:
        loaded: The configuration.
        environment: In which passwords are looked up; the process's own if None.
        credentials: What systemd hands over by name, as `resolve_password` takes it.
    """
    config = loaded.config
    for name in config.models.keys() - cameras_by_model(config).keys():
        yield f"models.{name}: no camera names it, so it is not loaded"
    yield from _camera_warnings(config)
    if config.metrics.enabled and not parse_listen_address(config.metrics.address).local:
        yield "metrics.address: other machines can read it, and nothing asks them for a password"
    yield from _broker_warnings(config, "mqtt", config.mqtt)
    yield from _command_warnings(config.mqtt)
    yield from name_warnings(config, environment, credentials)
    for name, sink in config.sinks.items():
        where = f"sinks.{name}"
        if not sink.enabled:
            continue
        if isinstance(sink, MqttSinkSection):
            yield from _broker_warnings(config, where, sink)
        else:
            key = f"{where}.directory"
            yield from _place_warnings(key, partial(jsonl_directory, sink, key))


def _broker_warnings(config: AppConfig, where: str, section: MqttSection) -> Iterator[str]:
    yield from _password_warnings(where, section.password_file)
    for key in ("ca_file", "cert_file", "key_file"):
        file = getattr(section.tls, key)
        if file and (missing := why_no_file(Path(file))) is not None:
            yield f"{where}.tls.{key}: the file {missing}: {file}"
        elif file and key == "key_file":
            with suppress(OSError):  # it went away just now
                rights = rights_of_all(Path(file))
                if rights:
                    yield f"{where}.tls.{key}: every user can {rights} {file}; chmod 600 makes it private"
    if section.tls.insecure:
        yield f"{where}.tls.insecure: anybody on the way to the broker can read and change what is published"
    yield from _label_warnings(config, where, section.home_assistant)
    yield from _outbox_warnings(where, section.outbox, durable=section.delivery.detections == "durable")


def _password_warnings(where: str, file: str | None) -> Iterator[str]:
    """Yield what stands against a file; not its name, which may be a password in the wrong place."""
    missing = why_no_file(Path(file)) if file else None
    if missing is not None:
        yield f"{where}.password_file: the file {missing}{' yet' if missing == 'does not exist' else ''}"


def _command_warnings(section: MqttSection) -> Iterator[str]:
    if section.commands.enabled and section.username is None and section.tls.cert_file is None:
        yield (
            "mqtt.commands.enabled: we do not log in at the broker; if nobody has to, whoever reaches it can "
            "switch cameras off and have pictures taken"
        )


def _label_warnings(config: AppConfig, where: str, house: HomeAssistantSection) -> Iterator[str]:
    labels = [known_labels(config_of_model(config, name).model) for name in cameras_by_model(config)]
    if house.enabled and None not in labels:
        known = {label for found in labels for label in found or ()}
        yield from (
            f"{where}.home_assistant.classes: {words}" for words in without_model(house.classes, known)
        )


def _outbox_warnings(where: str, section: OutboxSection, *, durable: bool) -> Iterator[str]:
    if durable:
        key = f"{where}.outbox.directory"
        yield from _place_warnings(key, lambda: outbox_directory(section, key))


def _place_warnings(key: str, place: Callable[[], Path]) -> Iterator[str]:
    """Yield what stands against a directory, as far as this user can tell: the service may be another one."""
    try:
        directory = place()
    except ConfigError as error:
        yield str(error)
        return
    unusable = why_unusable(directory.absolute())
    if unusable is not None:
        yield f"{key}: {unusable}"


def _camera_warnings(config: AppConfig) -> Iterator[str]:
    for name, camera in config.cameras.items():
        uri = parse_camera_uri(camera.uri)
        if uri.kind is CameraKind.FILE and (missing := _why_nothing_at(uri.location)) is not None:
            yield f"cameras.{name}.uri: {missing}"
        if uri.on_network and camera.username and not any(getattr(camera, key) for key in PASSWORD_KEYS):
            yield f"cameras.{name}.username: is set without a password"
        yield from _password_warnings(f"cameras.{name}", camera.password_file)


def _why_nothing_at(location: str) -> str | None:
    path = Path(location)
    try:
        if any(letter in location for letter in "*?["):
            found = any(True for _ in Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        else:
            found = path.exists()
    except (OSError, ValueError) as error:
        return f"{location} cannot be looked at now: {why(error)}"
    return None if found else f"there is nothing at {location} now"
