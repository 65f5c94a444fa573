"""Rules between the keys of sinks, and between sinks."""

from __future__ import annotations

from collections.abc import Iterator

from edge_app.config.broker_uri import parse_broker_uri
from edge_app.config.checks import Finding, check_broker, check_names
from edge_app.config.models import AppConfig, MqttSection, MqttSinkSection
from edge_app.config.problems import KeyPath, format_path
from edge_app.errors import ConfigError

_OF_EDGE = ("root", "home_assistant", "health_interval_s")
_OF_FRAMES = ("publish_empty", "detections_expiry_s", "queue_size", "delivery", "outbox")
_UNUSED = {"edge": ("topic",), "deepstream": _OF_EDGE, "frigate": (*_OF_EDGE, *_OF_FRAMES)}
"""What says nothing to an encoder."""


def check_sinks(config: AppConfig) -> Iterator[Finding]:
    """Yield what is wrong with the sinks of a configuration whose single keys are right."""
    yield from check_names("sinks", "sink", config.sinks)
    brokers: dict[KeyPath, MqttSection] = {("mqtt",): config.mqtt}
    for name, section in config.sinks.items():
        if isinstance(section, MqttSinkSection):
            path: KeyPath = ("sinks", name)
            yield from check_broker(section, path)
            yield from _check_unused(section, path)
            if "commands" in section.model_fields_set:
                message = "is of no use to a sink: commands are taken from the broker of mqtt alone"
                yield Finding((*path, "commands"), message, "write it below mqtt:")
            yield from _check_others(section, path, brokers)
            if section.enabled:
                brokers[path] = section


def _check_unused(section: MqttSinkSection, path: KeyPath) -> Iterator[Finding]:
    for key in _UNUSED[section.encoder]:
        if key in section.model_fields_set:
            hint = {"root": "write topic in its place", "topic": "write root in its place"}.get(key)
            message = f"is of no use to the encoder {section.encoder}"
            yield Finding((*path, key), message, hint or "remove it", ((*path, "encoder"),))


def _check_others(
    section: MqttSinkSection, path: KeyPath, brokers: dict[KeyPath, MqttSection]
) -> Iterator[Finding]:
    """Yield what two sections want of one broker that it can give to one only."""
    for other_path, other in brokers.items() if section.enabled else ():
        other_name = format_path(other_path)
        if not _same_broker(section, other):
            continue
        if section.client_id is not None and section.client_id == other.client_id:
            hint = "each connection needs its own; without the line it gets one"
            yield Finding((*path, "client_id"), f"is that of {other_name} too, at the same broker", hint)
        if _topics(section) == _topics(other):
            hint = "remove the sink, or let its topics begin with another word (root, topic)"
            message = f"publishes to the same topics at the same broker as {other_name}"
            looked_at = (*path, "root"), (*path, "topic"), (*path, "uri"), (*other_path, "uri")
            yield Finding(path, message, hint, looked_at)


def _same_broker(section: MqttSection, other: MqttSection) -> bool:
    try:
        mine, theirs = parse_broker_uri(section.uri), parse_broker_uri(other.uri)
    except ConfigError:  # reported where it stands
        return False
    return (mine.host, mine.port) == (theirs.host, theirs.port)


def _topics(section: MqttSection) -> str:
    if isinstance(section, MqttSinkSection) and section.encoder != "edge":
        return section.foreign_topic
    return section.root
