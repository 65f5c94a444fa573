"""What others on the network can read on the way: to brokers, and from cameras."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from edge_app.config.broker_uri import parse_broker_uri
from edge_app.config.camera_uri import CameraKind, parse_camera_uri
from edge_app.config.listen_address import is_this_machine
from edge_app.config.models import AppConfig, MqttSection, MqttSinkSection

_MOST_NAMES = 5
_OPEN = re.compile(r"(?:rtsp|http)://", re.IGNORECASE)
_IN_PIPELINE = re.compile(r"(?<![a-z])(?:rtsp[tuh]?|http)://[^\s\"'!;,)]+", re.IGNORECASE)
"""Addresses within a pipeline; of rtspsrc the transport may stand in the scheme."""


def open_ways(config: AppConfig) -> Iterator[str]:
    """Yield what travels unencrypted to and from other machines, in words; of what is switched off nothing.

    No warnings: few cameras offer anything else, and a network of their own is as good an answer.
    """
    yield from _to_broker("mqtt", config.mqtt)
    for name, sink in config.sinks.items():
        if sink.enabled and isinstance(sink, MqttSinkSection):
            yield from _to_broker(f"sinks.{name}", sink)
    seen = {name: camera for name, camera in config.cameras.items() if camera.enabled and _open(camera.uri)}
    if seen:
        logs_in = any(camera.username is not None for camera in seen.values())
        what = "pictures and passwords" if logs_in else "pictures"
        yield (
            f"cameras {_some(list(seen))}: {what} travel unencrypted; use rtsps:// or https:// where a "
            "camera can, or keep cameras in a network of their own"
        )


def _to_broker(where: str, section: MqttSection) -> Iterator[str]:
    address = parse_broker_uri(section.uri)
    if not address.encrypted and not is_this_machine(address.host):
        what = "what is seen" if section.username is None else "what is seen, and the password,"
        yield f"{where}.uri: {what} travels unencrypted to {address.host}; use mqtts:// or wss:// if it can"


def _open(uri: str) -> bool:
    camera = parse_camera_uri(uri)
    if camera.kind is CameraKind.GSTREAMER:
        return any(map(_from_another_machine, _IN_PIPELINE.findall(camera.location)))
    return camera.on_network and _OPEN.match(uri) is not None and _from_another_machine(uri)


def _from_another_machine(address: str) -> bool:
    try:
        host = urlsplit(address).hostname
    except ValueError:  # of a pipeline, whose addresses nobody has checked
        return True
    return not is_this_machine(str(host))


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
