"""What the tests of publishing share: a publisher with its neighbours, and a recorder of messages."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from typing import Any

import jsonschema
import numpy as np

from edge_app.config.models import MqttSection
from edge_app.messages import CameraState, Detections, DropReason, FrameInfo, ModelInfo, NodeInfo, Timings
from edge_app.publish.broker import BrokerAddress, BrokerOptions
from edge_app.publish.connection import BrokerConnection
from edge_app.publish.payloads import CameraHealth, HealthSnapshot
from edge_app.publish.publisher import MqttPublisher
from edge_app.publish.schemas import schema
from edge_app.publish.traffic import Received, Traffic

MODEL = ModelInfo("demo", "0f" * 32, ("person", "car"), "onnxruntime", "fp32")
INFO = NodeInfo("0.1.0", "3.11.2", "Linux x86_64", 1_700_000_000_000_000_000, {"gate": MODEL})
BASE = "edge/v1/node-1"
FOREIGN = ("homeassistant/", "ds/", "frigate/")
"""What topics of other contracts begin with."""


def detections(frame_id: int = 0, count: int = 2, camera_id: str = "gate") -> Detections:
    """Return `count` objects in a 1280x720 frame that was captured just now."""
    info = FrameInfo(camera_id, frame_id, time.monotonic_ns(), time.time_ns(), 1280, 720, 3.2, frame_id / 30)
    edges = np.arange(count, dtype=np.float32) + np.float32(0.123)
    return Detections(
        info,
        np.stack([edges, edges, edges + 10, edges + 20], axis=1),
        np.full(count, 0.87654, np.float32),
        (np.arange(count) % 2).astype(np.int32),
        timings=Timings(3.2, 1.0, 5.0, 0.5),
    )


def strict(document: Any) -> Any:
    """Return a schema that, unlike ours for subscribers, wants every field that it names, and no other."""
    if isinstance(document, dict):
        stricter = {key: strict(value) for key, value in document.items()}
        if "properties" in document:
            stricter.setdefault("additionalProperties", False)
            stricter["required"] = list(document["properties"])
        return stricter
    return [strict(item) for item in document] if isinstance(document, list) else document


def check(payload: dict[str, Any]) -> None:
    """Fail unless `payload` is exactly what its schema says."""
    jsonschema.Draft202012Validator(strict(schema(payload["schema"]))).validate(payload)


class Neighbours:
    """The pipeline's side of a publisher: counts drops, tells health, notes failures."""

    def __init__(self) -> None:
        self.drops: Counter[DropReason] = Counter()
        self.failures: list[BaseException] = []
        self.health_error: Exception | None = None

    def dropped(self, camera_id: str, reason: DropReason, count: int = 1) -> None:
        self.drops[reason] += count

    def dropped_frames(self, camera_id: str) -> int:
        return self.drops.total()

    def health(self) -> HealthSnapshot:
        if self.health_error is not None:
            raise self.health_error
        camera = CameraHealth(CameraState.STREAMING, 29.97, 10, 9, {DropReason.TOO_OLD: 1}, 2)
        return HealthSnapshot(12.3456, 0, 1, 100_000_000, 12.34, {"gate": camera})


class Recorder(Traffic):
    """Subscribes to everything but commands and keeps it, checked against its schema on the way."""

    subscriptions = ("#",)

    def __init__(self, options: BrokerOptions) -> None:
        self._lock = threading.Lock()
        self._messages: list[tuple[Received, dict[str, Any]]] = []
        self._cleared: list[str] = []
        self.broken: list[str] = []
        self.connection = BrokerConnection(options, self)

    def received(self, message: Received) -> None:
        if message.topic.startswith(f"{BASE}/cmd/"):
            return
        if not message.payload:
            with self._lock:
                self._cleared.append(message.topic)
            return
        payload = json.loads(message.payload)
        try:
            if not message.topic.startswith(FOREIGN):
                check(payload)
        except jsonschema.ValidationError as error:
            self.broken.append(f"{message.topic}: {error.message}")
        except KeyError as error:
            self.broken.append(f"{message.topic}: no schema, or one that is not there: {error}")
        with self._lock:
            self._messages.append((message, payload))

    def on(self, topic: str) -> list[dict[str, Any]]:
        """Return the payloads of `topic` so far, oldest first."""
        with self._lock:
            return [payload for message, payload in self._messages if message.topic == topic]

    def everything(self) -> list[tuple[str, dict[str, Any]]]:
        """Return topic and payload of every message so far."""
        with self._lock:
            return [(message.topic, payload) for message, payload in self._messages]

    def cleared(self) -> list[str]:
        """Return the topics of the empty messages so far, oldest first."""
        with self._lock:
            return list(self._cleared)

    def raw(self) -> list[tuple[str, bytes]]:
        """Return topic and bytes of every message so far."""
        with self._lock:
            return [(message.topic, message.payload) for message, _ in self._messages]

    def states(self, topic: str = f"{BASE}/status") -> list[str]:
        """Return the states told on `topic` so far."""
        return [payload["state"] for payload in self.on(topic)]

    def retained(self) -> set[str]:
        """Return the topics that the broker had kept."""
        with self._lock:
            return {message.topic for message, _ in self._messages if message.retained}


class Listener(Traffic):
    """Subscribes to everything and keeps the newest of each topic, whatever it is."""

    subscriptions = ("#",)

    def __init__(self, options: BrokerOptions) -> None:
        self._newest: dict[str, bytes] = {}
        self.connection = BrokerConnection(options, self)

    def received(self, message: Received) -> None:
        self._newest[message.topic] = message.payload

    def newest(self) -> dict[str, bytes]:
        """Return the newest payload of each topic so far."""
        return dict(self._newest)


class Parts:
    """Makes publishers and recorders for one test."""

    def __init__(self) -> None:
        self._publishers: list[MqttPublisher] = []
        self._recorders: list[Recorder] = []
        self._listeners: list[Listener] = []

    def publisher(
        self, uri: str, neighbours: Neighbours, password: str | None = None, **section: Any
    ) -> MqttPublisher:
        """Return a publisher of node-1 that knows its model; not yet started."""
        fast = {"uri": uri, "reconnect_min_s": 0.1, "reconnect_max_s": 0.3, **section}
        publisher = MqttPublisher(
            MqttSection(**fast),
            node="node-1",
            drops=neighbours,
            observed=neighbours,
            on_failure=neighbours.failures.append,
            password=password,
        )
        publisher.set_info(INFO)
        self._publishers.append(publisher)
        return publisher

    def take(self, publisher: MqttPublisher) -> None:
        """Stop this one too."""
        self._publishers.append(publisher)

    def listener(self, uri: str) -> Listener:
        """Return a listener, started."""
        name = f"listener-{len(self._listeners)}"
        listener = Listener(BrokerOptions(BrokerAddress.parse(uri), name, reconnect_min_s=0.1))
        self._listeners.append(listener)
        listener.connection.start()
        return listener

    def recorder(self, uri: str, **options: Any) -> Recorder:
        """Return a recorder, started."""
        number = len(self._recorders)
        recorder = Recorder(
            BrokerOptions(
                BrokerAddress.parse(uri),
                f"recorder-{number}",
                reconnect_min_s=0.1,
                reconnect_max_s=0.3,
                **options,
            )
        )
        self._recorders.append(recorder)
        recorder.connection.start()
        return recorder

    def stop(self) -> None:
        """Stop everything that was made, and fail if a recorder saw what no schema allows."""
        for publisher in self._publishers:
            publisher.stop(0.5)
        for recorder in self._recorders:
            recorder.connection.stop(0.5)
        for listener in self._listeners:
            listener.connection.stop(0.5)
        assert [text for recorder in self._recorders for text in recorder.broken] == []
