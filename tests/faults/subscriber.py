"""A subscriber with a session that the broker keeps: what it was promised comes, over every reconnect."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion


class DurableSubscriber:
    """Notes the frame number, id and mark of every detections message, in order of arrival."""

    def __init__(self, port: int) -> None:
        self._lock = threading.Lock()
        self.numbers: list[int] = []
        self.topics: list[str] = []
        self.replayed: list[bool] = []
        self.arrived_s: list[float] = []
        self.ids: Counter[str] = Counter()
        self._ready = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="durable-subscriber", clean_session=False
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port, 10)
        self._client.loop_start()
        assert self._ready.wait(10)

    @property
    def seen(self) -> int:
        """How many different numbers have come."""
        with self._lock:
            return len(set(self.numbers))

    @property
    def duplicates(self) -> int:
        """How many messages came more than once."""
        return sum(count - 1 for count in self.ids.values())

    def first_seen(self) -> list[int]:
        """The numbers in the order in which each came first."""
        return list(dict.fromkeys(self.numbers))

    def until_seen(self, count: int, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while self.seen < count:
            assert time.monotonic() < deadline_s, f"{self.seen} of {count} within {timeout_s:g} s"
            time.sleep(0.05)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe("edge/v1/+/camera/+/detections", 1)

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        payload = json.loads(message.payload)
        with self._lock:
            self.numbers.append(payload["frame_id"])
            self.topics.append(message.topic)
            self.replayed.append(payload["replayed"])
            self.arrived_s.append(time.monotonic())
            self.ids[payload["id"]] += 1
