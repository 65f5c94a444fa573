"""Passwords that are names of the configuration too: easily guessed, and hiding them hides the names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_app.config.models import AppConfig, JsonlSinkSection, SecretReference
from edge_app.config.secrets import MIN_REPLACED_CHARS, resolve_password
from edge_app.errors import ConfigError


def password_references(config: AppConfig) -> dict[str, SecretReference]:
    """Return the sections that the daemon takes a password for, those that are enabled, by their keys."""
    found: dict[str, SecretReference] = {"mqtt": config.mqtt}
    for name, sink in config.sinks.items():
        if sink.enabled and not isinstance(sink, JsonlSinkSection):
            found[f"sinks.{name}"] = sink
    for name, camera in config.cameras.items():
        if camera.enabled:
            found[f"cameras.{name}"] = camera
    return found


def name_warning(config: AppConfig, where: str, password: str) -> str | None:
    """Return what is to be said of a password that stands in a name, without saying in which; else None.

    Args:
        config: Whose names count: those of the node, cameras, models and sinks.
        where: The key of the password's section.
        password: What it refers to.
    """
    names = (config.node.name or "", *config.cameras, *config.models, *config.sinks, where.partition(".")[2])
    if len(password) < MIN_REPLACED_CHARS or not any(password in name for name in names):
        return None
    return (
        f"{where}: the password stands in a name of a camera, model, sink or node: it can be guessed, and "
        "the log shows *** in place of that name; choose another password"
    )


def name_warnings(
    config: AppConfig,
    environment: Mapping[str, str] | None = None,
    credentials: Mapping[str, Path | bytes | None] | None = None,
) -> Iterator[str]:
    """Yield `name_warning` of all passwords that can be had now; of others nothing."""
    for where, reference in password_references(config).items():
        try:
            password = resolve_password(reference, where, environment, lambda _: None, credentials)
        except ConfigError:  # told where it is needed
            continue
        words = None if password is None else name_warning(config, where, password)
        if words is not None:
            yield words
