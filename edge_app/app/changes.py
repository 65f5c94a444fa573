"""What a changed configuration asks of a daemon that runs: what it can do, and what needs a restart."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from edge_app.app.fleet import enabled_cameras
from edge_app.config.differences import differing_keys, without
from edge_app.config.models import AppConfig, MqttSection

CONNECTION_KEYS = (
    "uri",
    "username",
    "password_file",
    "password_env",
    "password_credential",
    "protocol",
    "client_id",
    "keepalive_s",
    "reconnect_min_s",
    "reconnect_max_s",
    "publish_empty",
    "tls",
)
"""Of `mqtt`: what can change while messages wait. With the rest go topics, numbers and files."""

_LIVE = ("log", "postprocess", "cameras", "camera_defaults", "mqtt", "sinks", "models")
"""Sections that are looked at here, key by key; what differs in others needs a restart."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The passwords of a configuration, resolved: a file may hold another one although no key changed."""

    mqtt: str | None
    cameras: Mapping[str, str | None]
    sinks: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between what runs and what is wanted.

    Attributes:
        put: Cameras that are new or altered.
        removed: Cameras that are no longer wanted; while nothing else runs, they stay (`restart`).
        broker: Whether the connection to the main broker changes.
        sinks: Sinks that are new, altered or no longer wanted.
        restart: Keys that differ and stay as they were.
    """

    put: tuple[str, ...]
    removed: tuple[str, ...]
    broker: bool
    sinks: tuple[str, ...]
    restart: tuple[str, ...]


def find_changes(
    before: AppConfig,
    after: AppConfig,
    secrets_before: Secrets,
    secrets_after: Secrets,
    models: Collection[str | None],
    unsure: Collection[str] = (),
) -> Changes:
    """Compare two configurations.

    Args:
        before: What runs.
        after: What is wanted.
        secrets_before: The passwords of `before`.
        secrets_after: The passwords of `after`.
        models: Those that are loaded; None is the one of `model`.
        unsure: What may run otherwise than `before` says (`mqtt`, `sinks.NAME`, `cameras.NAME`): it differs.
    """
    put, no_model = _cameras(before, after, secrets_before, secrets_after, models, unsure)
    wanted, running = enabled_cameras(after), enabled_cameras(before)
    there = dict.fromkeys((*running, *_named("cameras", unsure)))
    removed = [name for name in there if name not in wanted]
    last: list[str] = []
    if not put and not any(name in wanted for name in running):
        # What is wanted is for after a restart; without any camera until then the daemon would end itself.
        last = [name for name in removed if name in running]
        removed = [name for name in removed if name not in running]
    broker_keys = list(differing_keys(before.mqtt, after.mqtt))
    restart = [f"mqtt.{key}" for key in without(broker_keys, CONNECTION_KEYS)]
    return Changes(
        put=tuple(put),
        removed=tuple(removed),
        broker=len(restart) < len(broker_keys)
        or secrets_before.mqtt != secrets_after.mqtt
        or "mqtt" in unsure,
        sinks=tuple(_sinks(before, after, secrets_before, secrets_after, unsure)),
        restart=(
            *_other_sections(before, after),
            *_models(before, after, models),
            *restart,
            *(f"cameras.{name}" for name in (*no_model, *last)),
        ),
    )


def in_force(before: AppConfig, after: AppConfig, changes: Changes) -> AppConfig:
    """Return the configuration that runs once the changes were made: what needs a restart is as it was."""
    kept = {key: getattr(before, key) for key in AppConfig.model_fields if key not in _LIVE}
    left = [name for name in {**before.cameras, **after.cameras} if f"cameras.{name}" in changes.restart]
    cameras = {name: section for name, section in after.cameras.items() if name not in left}
    cameras |= {name: before.cameras[name] for name in left if name in before.cameras}
    return after.model_copy(
        update={**kept, "cameras": cameras, "models": before.models, "mqtt": broker_in_force(before, after)}
    )


def broker_in_force(before: AppConfig, after: AppConfig) -> MqttSection:
    """Return the section of the broker with nothing new but what can change while it runs."""
    keys = [key for key in MqttSection.model_fields if key in CONNECTION_KEYS]
    return before.mqtt.model_copy(update={key: getattr(after.mqtt, key) for key in keys})


def _cameras(
    before: AppConfig,
    after: AppConfig,
    secrets_before: Secrets,
    secrets_after: Secrets,
    models: Collection[str | None],
    unsure: Collection[str],
) -> tuple[list[str], list[str]]:
    old = enabled_cameras(before)
    put: list[str] = []
    restart: list[str] = []
    for name, section in enabled_cameras(after).items():
        same = old.get(name) == section and f"cameras.{name}" not in unsure
        if same and secrets_before.cameras.get(name) == secrets_after.cameras.get(name):
            continue
        (put if section.model in models else restart).append(name)
    return put, restart


def _sinks(
    before: AppConfig,
    after: AppConfig,
    secrets_before: Secrets,
    secrets_after: Secrets,
    unsure: Collection[str],
) -> list[str]:
    old = {name: section for name, section in before.sinks.items() if section.enabled}
    new = {name: section for name, section in after.sinks.items() if section.enabled}
    return [
        name
        for name in dict.fromkeys((*old, *new, *_named("sinks", unsure)))
        if old.get(name) != new.get(name)
        or secrets_before.sinks.get(name) != secrets_after.sinks.get(name)
        or f"sinks.{name}" in unsure
    ]


def _named(section: str, keys: Collection[str]) -> list[str]:
    """Return the names of a section's children among keys."""
    return [key.partition(".")[2] for key in sorted(keys) if key.startswith(f"{section}.")]


def _other_sections(before: AppConfig, after: AppConfig) -> list[str]:
    return without(list(differing_keys(before, after)), _LIVE)


def _models(before: AppConfig, after: AppConfig, models: Collection[str | None]) -> list[str]:
    """Return what differs in the further models that are loaded; others are loaded by a restart alone."""
    found: list[str] = []
    for name in filter(None, models):
        if name not in after.models:
            found.append(f"models.{name}")
            continue
        keys = list(differing_keys(before.models[name], after.models[name], f"models.{name}."))
        found += without(keys, (f"models.{name}.postprocess",))
    return found
