"""What Home Assistant is told so that it shows a node and its cameras: device discovery.

Format: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload. Levels of its topics
are of `[a-zA-Z0-9_-]` (the pattern of its own matcher), identities are any text.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edge_app.config.labels import without_model
from edge_app.messages import ModelInfo, NodeInfo
from edge_app.publish.topics import Topics

MOST_CLASSES = 12
"""A model of more classes would flood the house with entities: then only those people ask for count."""
USUAL = ("person", "bicycle", "car", "motorcycle", "bus", "truck", "cat", "dog")
BIRTH = b"online"
MEBIBYTE = "MiB"

Component = dict[str, Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Discovery:
    """Describes one node.

    Attributes:
        prefix: Home Assistant's discovery prefix.
        topics: Of the node.
        classes: Labels to show; empty: all of a small model, the usual ones of a large one.
        health_interval_s: How often health comes: what does not come for three of them is unavailable.
        durable: Whether the node keeps messages on disk.
    """

    prefix: str
    topics: Topics
    classes: tuple[str, ...]
    health_interval_s: float
    durable: bool

    @property
    def birth_topic(self) -> str:
        """Where Home Assistant says that it has started."""
        return f"{self.prefix}/status"

    def messages(self, info: NodeInfo) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield topic and payload of each device: the node, then its cameras."""
        yield self._topic("node"), self._node(info)
        for camera_id, model in info.models.items():
            yield self.camera_topic(camera_id), self._camera(info, camera_id, model)

    def camera_topic(self, camera_id: str) -> str:
        """Return where a camera's device is described; an empty message there removes it."""
        return self._topic(f"camera-{_id(camera_id)}")

    def warn(self, info: NodeInfo) -> None:
        """Log which of the labels to show no model has."""
        known = {label for model in info.models.values() for label in model.labels}
        for words in without_model(self.classes, known):
            logger.warning("mqtt.home_assistant.classes: %s", words)

    def shown(self, model: ModelInfo) -> Sequence[str]:
        """Return the labels of a model that are shown."""
        wanted = self.classes or (model.labels if len(model.labels) <= MOST_CLASSES else USUAL)
        return [label for label in model.labels if label in wanted]

    def _topic(self, device: str) -> str:
        return f"{self.prefix}/device/{_id(self.topics.root)}__{_id(self.topics.node)}/{device}/config"

    def _node(self, info: NodeInfo) -> dict[str, Any]:
        state, health = self.topics.status, self.topics.health
        parts: dict[str, Component] = {
            "status": {
                "platform": "sensor",
                "name": "Status",
                "state_topic": state,
                **_value("value_json.state"),
            },
            "problem": {
                "platform": "binary_sensor",
                "name": "Problem",
                "device_class": "problem",
                "state_topic": state,
                **_on("value_json.state == 'degraded'"),
                **self._with_node(),
            },
            "cpu": self._gauge("Processor", "value_json.cpu_percent", "%", health),
            "memory": self._gauge("Memory", "(value_json.rss_bytes or 0) / 1048576", MEBIBYTE, health),
            "queue": self._gauge("Messages waiting", "value_json.queue_depth", None, health),
            "temperature": {
                **self._gauge("Temperature", "value_json.temperature_c", "°C", health),
                "device_class": "temperature",
            },
        }
        if self.durable:
            parts["outbox"] = self._gauge("Messages on disk", "value_json.outbox.messages", None, health)
        device = {"name": f"edge-app {self.topics.node}", "model": info.platform}
        return self._device(info, self._identity(), device, parts)

    def _camera(self, info: NodeInfo, camera_id: str, model: ModelInfo) -> dict[str, Any]:
        status, counts = self.topics.camera_status(camera_id), self.topics.counts(camera_id)
        parts: dict[str, Component] = {
            "connection": {
                "platform": "binary_sensor",
                "name": "Connection",
                "device_class": "connectivity",
                "entity_category": "diagnostic",
                "state_topic": status,
                **_on("value_json.state == 'streaming'"),
                **self._with_node(),
            },
            "fps": self._gauge(
                "Frames", f"value_json.cameras[{_quoted(camera_id)}].fps", "frames/s", self.topics.health
            ),
            "dropped": {
                **self._gauge(
                    "Dropped",
                    f"value_json.cameras[{_quoted(camera_id)}].dropped.values() | sum",
                    None,
                    self.topics.health,
                ),
                "state_class": "total_increasing",
            },
        }
        for label in self.shown(model):
            key, value = model.labels.index(label), f"(value_json.counts[{_quoted(label)}] | default(0))"
            parts[f"count_{key}"] = {
                "platform": "sensor",
                "name": f"{label.capitalize()} count",
                "state_class": "measurement",
                "state_topic": counts,
                **_value(value),
                **self._with_camera(status),
            }
            parts[f"occupancy_{key}"] = {
                "platform": "binary_sensor",
                "name": label.capitalize(),
                "device_class": "occupancy",
                "state_topic": counts,
                **_on(f"{value} > 0"),
                **self._with_camera(status),
            }
        device = {"name": camera_id, "model": f"camera, {model.name}", "via_device": self._identity()}
        return self._device(info, self._identity(camera_id), device, parts)

    def _device(
        self, info: NodeInfo, identity: str, device: dict[str, Any], parts: dict[str, Component]
    ) -> dict[str, Any]:
        own = {"identifiers": [identity], "manufacturer": "edge-app", "sw_version": info.version}
        return {
            "device": own | device,
            "origin": {"name": "edge-app", "sw_version": info.version},
            "components": {key: part | {"unique_id": f"{identity}/{key}"} for key, part in parts.items()},
        }

    def _gauge(self, name: str, value: str, unit: str | None, topic: str) -> Component:
        """Return a sensor of the daemon's health."""
        return {
            "platform": "sensor",
            "name": name,
            "state_topic": topic,
            **_value(value),
            "state_class": "measurement",
            "entity_category": "diagnostic",
            **({} if unit is None else {"unit_of_measurement": unit, "suggested_display_precision": 1}),
            "expire_after": max(1, round(3 * self.health_interval_s)),
            **self._with_node(),
        }

    def _identity(self, camera_id: str | None = None) -> str:
        """Return what no other node or camera is called: names are levels of topics, and hold no slash."""
        names = ("edge-app", self.topics.root, self.topics.node, camera_id)
        return "/".join(name for name in names if name is not None)

    def _with_node(self) -> Component:
        """Return the availability of what is there while the node is."""
        return {"availability": [self._node_availability()]}

    def _with_camera(self, camera_status: str) -> Component:
        """Return the availability of what is there while node and camera are."""
        camera = {"topic": camera_status, **_available("value_json.state == 'streaming'")}
        return {"availability": [self._node_availability(), camera], "availability_mode": "all"}

    def _node_availability(self) -> Component:
        return {"topic": self.topics.status, **_available("value_json.state in ['online', 'degraded']")}


def _value(expression: str) -> Component:
    return {"value_template": f"{{{{ {expression} }}}}"}


def _on(condition: str) -> Component:
    return {"value_template": f"{{{{ 'ON' if {condition} else 'OFF' }}}}"}


def _available(condition: str) -> Component:
    return {"value_template": f"{{{{ 'online' if {condition} else 'offline' }}}}"}


def _quoted(text: str) -> str:
    """Return a text as a literal of Jinja, which reads JSON's escapes."""
    return json.dumps(text)


def _id(name: str) -> str:
    """Return a name as part of an object id: different for different names, and without `__`."""
    return re.sub(r"[^A-Za-z0-9-]", lambda found: "".join(f"_{byte:02x}" for byte in found[0].encode()), name)
