"""A broker that takes messages of a certain size only, and says so: larger ones do not stop the others."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_app.messages import CameraState, CameraStatus, DropReason, NodeState
from edge_app.publish.broker import BrokerAddress, BrokerOptions
from edge_app.publish.connection import BrokerConnection
from edge_app.publish.mqtt.properties import packet_bytes
from edge_app.publish.traffic import Message, Received, Traffic
from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.publish.parts import BASE, Neighbours, Parts, Recorder, detections

pytestmark = [pytest.mark.broker, needs_mosquitto]

MOST_BYTES = 2500
DETECTIONS = f"{BASE}/camera/gate/detections"
TOO_MANY = 40
"""Objects, for a message of that size."""


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path, lines=[f"max_packet_size {MOST_BYTES}"])
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def neighbours() -> Neighbours:
    return Neighbours()


def frame_ids(recorder: Recorder) -> list[int]:
    return [message["frame_id"] for message in recorder.on(DETECTIONS)]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if "is not sent" in record.message]


def test_what_must_arrive_goes_on_and_what_is_too_large_is_set_aside(
    narrow: Mosquitto,
    parts: Parts,
    neighbours: Neighbours,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    recorder = parts.recorder(narrow.uri)
    publisher = parts.publisher(
        narrow.uri,
        neighbours,
        delivery={"detections": "durable"},
        outbox={"directory": str(tmp_path / "outbox"), "window": 4},
    )
    publisher.start()
    for frame_id in range(30):
        publisher.put(detections(frame_id, TOO_MANY if frame_id % 3 == 1 else 1), wait=True)
    expected = [frame_id for frame_id in range(30) if frame_id % 3 != 1]
    until(lambda: set(frame_ids(recorder)) >= set(expected), "the others arrive")
    until(lambda: neighbours.drops[DropReason.TOO_LARGE] == 10, "what is too large is counted")
    until(lambda: publisher.outbox is not None and publisher.outbox.messages == 0, "nothing waits")
    assert list(dict.fromkeys(frame_ids(recorder))) == expected
    assert publisher.published("gate") == len(expected)
    assert publisher.reconnects == 0
    (words,) = told(caplog)
    assert words.startswith(f"a message on {DETECTIONS} is not sent: it has ")
    publisher.stop()
    with sqlite3.connect(tmp_path / "outbox" / "node-1.db") as database:
        rows = database.execute("SELECT topic, camera, payload, reason FROM set_aside").fetchall()
    database.close()
    assert {row[:2] for row in rows} == {(DETECTIONS, "gate")}
    assert [json.loads(row[2])["frame_id"] for row in rows] == list(range(1, 30, 3))
    assert all(row[3].endswith(f" bytes, the broker takes {MOST_BYTES}") for row in rows)


def test_live_ones_are_dropped_and_counted(
    narrow: Mosquitto, parts: Parts, neighbours: Neighbours, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = parts.recorder(narrow.uri)
    publisher = parts.publisher(narrow.uri, neighbours)
    publisher.set_node_state(NodeState.ONLINE)
    publisher.start()
    until(lambda: publisher.is_connected and recorder.states(), "both are connected")
    for frame_id, count in enumerate((1, TOO_MANY, TOO_MANY, 1)):
        publisher.put(detections(frame_id, count), wait=True)
    until(lambda: frame_ids(recorder) == [0, 3], "the others arrive")
    assert neighbours.drops == {DropReason.TOO_LARGE: 2}
    assert publisher.published("gate") == 2
    assert publisher.reconnects == 0
    assert len(told(caplog)) == 1


def test_a_state_that_is_too_large_does_not_hinder_the_others(
    narrow: Mosquitto, parts: Parts, neighbours: Neighbours
) -> None:
    recorder = parts.recorder(narrow.uri)
    publisher = parts.publisher(narrow.uri, neighbours)
    publisher.camera_changed(CameraStatus("gate", CameraState.LOST, "x" * MOST_BYTES))
    publisher.set_node_state(NodeState.ONLINE)
    publisher.start()
    until(lambda: "online" in recorder.states(), "the node's state arrives")
    assert publisher.stop()  # every state is settled
    assert publisher.reconnects == 0
    assert neighbours.drops == {}


class Sizes(Traffic):
    """Sends packets of given sizes."""

    def __init__(self, *sizes_bytes: int, qos: int) -> None:
        self._messages = [self._of_size(size_bytes, qos) for size_bytes in sizes_bytes]
        self.kept_back: list[tuple[int, str]] = []

    @staticmethod
    def _of_size(size_bytes: int, qos: int) -> Message:
        properties_bytes = 1 + 2 + 3 + len("application/json")
        empty = packet_bytes(Message("size/é", b"x" * 200, qos), properties_bytes) - 200
        return Message("size/é", b"x" * (size_bytes - empty), qos)

    def next_message(self, *, confirmable: bool) -> Message | None:
        return self._messages.pop(0) if self._messages else None

    def too_large(self, message: Message, reason: str) -> None:
        self.kept_back.append((len(message.payload), reason))


@pytest.mark.parametrize("qos", [0, 1])
def test_the_largest_that_the_broker_takes_is_sent(
    narrow: Mosquitto, qos: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    traffic = Sizes(MOST_BYTES, MOST_BYTES + 1, MOST_BYTES, qos=qos)
    arrived: list[int] = []

    class Hearing(Traffic):
        subscriptions = ("size/#",)

        def received(self, message: Received) -> None:
            arrived.append(len(message.payload))

    address = BrokerAddress.parse(narrow.uri)
    hearing = BrokerConnection(BrokerOptions(address, "hearing"), Hearing())
    sending = BrokerConnection(BrokerOptions(address, "sending"), traffic)
    hearing.start()
    until(lambda: hearing.connected, "it listens")
    sending.start()
    until(lambda: len(arrived) == 2, "both arrive")
    assert [length for length, _ in traffic.kept_back] == [arrived[0] + 1]
    assert traffic.kept_back[0][1] == f"it has {MOST_BYTES + 1} bytes, the broker takes {MOST_BYTES}"
    assert sending.reconnects == 0
    sending.stop(0.5)
    hearing.stop(0.5)
