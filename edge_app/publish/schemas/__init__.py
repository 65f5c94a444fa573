"""The JSON Schemas (2020-12) of every message that is published, and of the commands that are taken."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

NAMES = (
    "edge.node_status/1.0",
    "edge.info/1.2",
    "edge.health/1.2",
    "edge.camera_status/1.1",
    "edge.detections/1.1",
    "edge.counts/1.0",
    "edge.command_reply/1.0",
    "edge.snapshot/1.0",
)
REQUESTS = ("edge.command/1.0", "edge.snapshot_command/1.0")
"""Of what is received."""


@cache
def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of one kind of message.

    Args:
        name: As in a message's `schema` field, such as `edge.detections/1.0`.

    Raises:
        KeyError: If there is no such schema.
    """
    if name not in (*NAMES, *REQUESTS):
        raise KeyError(f"no schema {name!r}; there are {', '.join(NAMES)}")
    text = resources.files(__package__).joinpath(f"{name.replace('/', '-')}.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document
