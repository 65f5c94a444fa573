"""The subscriber for people's own programs: each message once, gaps told, durable sessions kept."""

from __future__ import annotations

import itertools
from datetime import timezone

import pytest

from edge_app import client
from edge_app.client import DetectionsMessage, NodeMessage, Subscriber
from edge_app.messages import CameraState, CameraStatus, NodeState
from edge_app.publish.payloads import Stamp, detections_payload, encode
from edge_app.publish.topics import Kind
from edge_app.publish.traffic import Received
from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.publish.parts import BASE, MODEL, Neighbours, Parts, detections

TOPIC = f"{BASE}/camera/gate/detections"


def received(
    seq: int, *, boot: str = "0" * 32, retained: bool = False, message_id: str | None = None
) -> Received:
    stamp = Stamp("node-1", boot, message_id or f"{boot[:6]}{seq:020}", seq, 1_000_000_000, 10**18, True)
    return Received(TOPIC, encode(detections_payload(stamp, detections(seq), MODEL, 0)), retained, 0)


def take(subscriber: Subscriber) -> list[NodeMessage]:
    return list(itertools.takewhile(bool, iter(lambda: subscriber.get(0.001), None)))


@pytest.fixture
def subscriber() -> Subscriber:
    made = Subscriber("mqtt://127.0.0.1:1")
    made._connection.stop()
    return made


def test_a_message_is_typed(subscriber: Subscriber) -> None:
    subscriber.received(received(7))
    (message,) = take(subscriber)
    assert isinstance(message, DetectionsMessage)
    assert (message.node, message.camera, message.kind) == ("node-1", "gate", Kind.DETECTIONS)
    assert (message.frame_id, message.size, message.replayed, message.missed) == (7, (1280, 720), False, 0)
    assert [(found.label, found.confidence) for found in message.objects] == [
        ("person", 0.8765),
        ("car", 0.8765),
    ]
    assert message.objects[0].box_xyxy == (0.1, 0.1, 10.1, 20.1)
    assert message.captured_at.tzinfo == timezone.utc
    assert message.payload["latency_ms"]["inference"] == 5.0


def test_a_message_comes_once(subscriber: Subscriber) -> None:
    for seq in (1, 2, 1, 2, 3):
        subscriber.received(received(seq))
    assert [message.seq for message in take(subscriber)] == [1, 2, 3]


def test_gaps_are_told_by_topic_and_start(subscriber: Subscriber) -> None:
    for seq in (5, 6, 9, 8, 10):
        subscriber.received(received(seq))
    subscriber.received(received(3, boot="1" * 32))
    subscriber.received(received(4, boot="1" * 32))
    assert [message.missed for message in take(subscriber)] == [0, 0, 2, 0, 0, 0, 0]


def test_the_oldest_go_when_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_WAITING", 3)
    subscriber = Subscriber("mqtt://127.0.0.1:1")
    subscriber._connection.stop()
    for seq in range(5):
        subscriber.received(received(seq))
    assert [message.seq for message in take(subscriber)] == [2, 3, 4]


def test_what_is_not_of_the_tree_is_passed_over(subscriber: Subscriber) -> None:
    subscriber.received(Received("edge/v9/node/status", b"{}", False, 0))
    subscriber.received(Received(f"{BASE}/status", b"", True, 0))
    assert take(subscriber) == []
    assert subscriber.broken == 0


@pytest.mark.parametrize(
    "payload",
    [
        *(b"no json", b"[]", b"7", b"{}", b"[" * 2000, b'{"id": []}', b'{"id": 7, "boot": "b", "seq": 1}'),
        b'{"id": "i", "boot": "b", "seq": "1", "published_at": 7, "clock_synced": true}',
        b'{"id": "i", "boot": "b", "seq": 1, "published_at": 7, "clock_synced": true}',
        b'{"id": "%s", "boot": "b", "seq": 1, "published_at": "", "clock_synced": true}' % (b"i" * 129),
    ],
)
def test_what_cannot_be_understood_is_counted_and_told_once(
    subscriber: Subscriber, caplog: pytest.LogCaptureFixture, payload: bytes
) -> None:
    for _ in range(3):
        subscriber.received(Received(f"{BASE}/status", payload, False, 0))
    assert (take(subscriber), subscriber.broken) == ([], 3)
    (told,) = caplog.messages
    assert told.startswith(f"cannot understand a message on {BASE}/status (")


def test_publishers_without_end_do_not_fill_the_memory(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MOST_SEQUENCES", 3)
    for start in range(10):
        subscriber.received(received(0, boot=f"{start:032}", message_id=str(start)))
    assert len(subscriber._sequences) == 3


@pytest.mark.broker
@needs_mosquitto
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_session_brings_what_came_while_the_program_was_away(
    parts: Parts, mosquitto: Mosquitto, tmp_path: object, protocol: str
) -> None:
    mosquitto.start()
    with Subscriber(mosquitto.uri, session="mine") as messages:
        until(lambda: messages._connection.connected, "it is connected")
        publisher = parts.publisher(
            mosquitto.uri,
            Neighbours(),
            protocol=protocol,
            delivery={"detections": "durable"},
            outbox={"directory": str(tmp_path)},
        )
        publisher.start()
        publisher.set_node_state(NodeState.ONLINE)
        publisher.camera_changed(CameraStatus("gate", CameraState.STREAMING))
        publisher.put(detections(0), wait=False)
        first = next(message for message in messages if isinstance(message, DetectionsMessage))
        assert first.frame_id == 0
    for number in range(1, 21):
        publisher.put(detections(number), wait=False)
    until(lambda: publisher.outbox is not None and publisher.outbox.messages == 0, "the broker has all")
    with Subscriber(mosquitto.uri, session="mine") as messages:
        detected = (message for message in messages if isinstance(message, DetectionsMessage))
        found = [message.frame_id for message in itertools.islice(detected, 20)]
    assert found == list(range(1, 21))
