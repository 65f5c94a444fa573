"""The MQTT contract as an AsyncAPI 3 document, made of the topics and schemas that the daemon uses.

    python -m edge_app.publish.asyncapi > docs/asyncapi.json

Format: https://www.asyncapi.com/docs/reference/specification/v3.0.0, with the MQTT bindings 0.2.0.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from edge_app import __version__
from edge_app.publish.commands.command import COMMANDS, Command, TakeSnapshot
from edge_app.publish.commands.desk import ANSWER_EXPIRY_S
from edge_app.publish.schemas import NAMES, REQUESTS, schema
from edge_app.publish.topics import Topics

NODE, CAMERA, ROOT = "{node}", "{camera}", "{root}"
EXPIRIES_S = {"detections": 5, "health": 20, "reply": ANSWER_EXPIRY_S, "snapshot": ANSWER_EXPIRY_S}
PARAMETERS = {
    "root": {"default": "edge", "description": "`mqtt.root`"},
    "node": {"description": "`node.name`, or the host's name"},
    "camera": {"description": "The camera's name in the configuration"},
}


@dataclass(frozen=True, slots=True)
class Channel:
    """One kind of topic.

    Attributes:
        name: Its key in the document.
        address: The topic, with parameters in braces.
        message: Name of its schema, without the version.
        qos: As it is published; of detections the live way.
        retain: Whether the broker keeps the newest.
        expires: Whether MQTT 5 subscribers get it for a limited time only.
        received: Whether the daemon takes it, and answers, instead of publishing it.
    """

    name: str
    address: str
    message: str
    qos: int
    retain: bool
    expires: bool = False
    received: bool = False


class _Braces(Topics):
    """Topics whose levels are parameters."""

    def __post_init__(self) -> None:
        """Take braces for levels."""


def channels() -> list[Channel]:
    """Return every kind of topic that the daemon publishes to, or takes commands from."""
    topics = _Braces(ROOT, NODE)
    return [
        Channel("nodeStatus", topics.status, "edge.node_status", qos=1, retain=True),
        Channel("info", topics.info, "edge.info", qos=1, retain=True),
        Channel("health", topics.health, "edge.health", qos=0, retain=False, expires=True),
        Channel("cameraStatus", topics.camera_status(CAMERA), "edge.camera_status", qos=1, retain=True),
        Channel(
            "detections", topics.detections(CAMERA), "edge.detections", qos=0, retain=False, expires=True
        ),
        Channel("counts", topics.counts(CAMERA), "edge.counts", qos=1, retain=True),
        Channel("reply", topics.reply, "edge.command_reply", qos=1, retain=False, expires=True),
        Channel("snapshot", topics.snapshot(CAMERA), "edge.snapshot", qos=1, retain=False, expires=True),
        *(_command(kind, topics) for kind in COMMANDS),
    ]


def _command(kind: type[Command], topics: Topics) -> Channel:
    name = kind.__name__[0].lower() + kind.__name__[1:]
    schema_name = "edge.snapshot_command" if kind is TakeSnapshot else "edge.command"
    address = topics.commands.removesuffix("#") + kind.pattern
    return Channel(name, address, schema_name, qos=1, retain=False, received=True)


def document() -> dict[str, Any]:
    """Return the document as plain values."""
    known = {name.partition("/")[0]: name for name in (*NAMES, *REQUESTS)}
    found = channels()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "edge-app",
            "version": __version__,
            "description": "What the daemon publishes, and takes where mqtt.commands.enabled is true. "
            "docs/mqtt.md says the same for people.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {channel.name: _channel(channel, known[channel.message]) for channel in found},
        "operations": {
            f"{'take' if channel.received else 'publish'}{channel.name[0].upper()}{channel.name[1:]}": (
                _operation(channel)
            )
            for channel in found
        },
    }


def _channel(channel: Channel, name: str) -> dict[str, Any]:
    payload = dict(schema(name))
    used = {key: value for key, value in PARAMETERS.items() if f"{{{key}}}" in channel.address}
    return {
        "address": channel.address,
        "description": payload["description"],
        "parameters": used,
        "messages": {
            channel.name: {
                "name": name,
                "title": payload["title"],
                "contentType": "application/json",
                "payload": {key: value for key, value in payload.items() if key != "$schema"},
            }
        },
    }


def _operation(channel: Channel) -> dict[str, Any]:
    if channel.received:
        return {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{channel.name}"},
            "description": "Answered to the response topic (MQTT 5), otherwise to the channel `reply`.",
            "reply": {"channel": {"$ref": "#/channels/reply"}},
            "bindings": {"mqtt": {"qos": channel.qos, "retain": False, "bindingVersion": "0.2.0"}},
        }
    binding: dict[str, Any] = {"qos": channel.qos, "retain": channel.retain, "bindingVersion": "0.2.0"}
    if channel.expires:
        binding["messageExpiryInterval"] = EXPIRIES_S[channel.name]
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "bindings": {"mqtt": binding},
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=2, ensure_ascii=False) + "\n")
