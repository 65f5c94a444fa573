"""Following a real publisher through a real broker, and what a person sees of it."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from edge_app.errors import ConfigError
from edge_app.messages import CameraState, CameraStatus, NodeState
from edge_app.publish.broker import BrokerAddress, BrokerOptions
from edge_app.publish.publisher import MqttPublisher
from edge_app.publish.traffic import Received
from edge_app.watch import watch
from edge_app.watch.subscriber import Subscriber
from edge_app.watch.table import _STATE_STYLES, plain_lines, render
from tests.brokers import Mosquitto, free_port, needs_mosquitto, until
from tests.publish.parts import BASE, Neighbours, Parts, detections

KEY = ("node-1", "gate")


def subscriber_for(uri: str, **more: Any) -> Subscriber:
    options = BrokerOptions(BrokerAddress.parse(uri), "watcher", reconnect_min_s=0.1, reconnect_max_s=0.2)
    return Subscriber(options, **more)


def absent() -> Subscriber:
    return subscriber_for(f"mqtt://127.0.0.1:{free_port()}")


def shown(subscriber: Subscriber, *, terminal: bool = True) -> str:
    console = Console(file=io.StringIO(), width=160, force_terminal=terminal, color_system="standard")
    with console.capture() as capture:
        console.print(render(subscriber))
    return capture.get()


@pytest.mark.broker
@needs_mosquitto
class TestFollowing:
    @pytest.fixture
    def publisher(self, mosquitto: Mosquitto, parts: Parts) -> MqttPublisher:
        mosquitto.start()
        publisher = parts.publisher(mosquitto.uri, Neighbours())
        publisher.set_node_state(NodeState.ONLINE)
        publisher.camera_changed(CameraStatus("gate", CameraState.STREAMING))
        publisher.start()
        return publisher

    @pytest.fixture
    def subscriber(self, mosquitto: Mosquitto, publisher: MqttPublisher) -> Iterator[Subscriber]:
        subscriber = subscriber_for(mosquitto.uri)
        subscriber.start()
        until(lambda: publisher.is_connected and KEY in subscriber.cameras(), "the camera is known")
        yield subscriber
        subscriber.stop()

    def test_everything_is_accounted_for(self, publisher: MqttPublisher, subscriber: Subscriber) -> None:
        for frame_id in range(50):
            publisher.put(detections(frame_id, count=3), wait=True)
        until(lambda: subscriber.summary()["messages"] == 50, "fifty messages")
        summary = subscriber.summary()
        assert summary["objects"] == {"person": 100, "car": 50}
        assert (summary["gaps"], summary["broken"], summary["dropped"]) == (0, 0, 0)
        assert summary["clocks_agree"] is True
        assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"]
        assert summary["cameras"]["node-1/gate"]["state"] == "streaming"
        assert summary["backend"] == "onnxruntime"
        until(lambda: subscriber.nodes()["node-1"].rss_bytes == 100_000_000, "health")

    def test_the_table_shows_it(self, publisher: MqttPublisher, subscriber: Subscriber) -> None:
        publisher.put(detections(0, count=3), wait=True)
        until(lambda: subscriber.summary()["messages"] == 1, "the message")
        text = shown(subscriber)
        for expected in (
            "node-1",
            "online",
            "demo (onnxruntime, fp32)",
            "node-1/gate",
            "streaming",
            "2 person, 1 car",
        ):
            assert expected in text
        assert "\x1b[" in text, "colours on a terminal"
        (line,) = plain_lines(subscriber)
        assert line.startswith("node-1/gate streaming ")
        assert line.endswith("in view: 2 person, 1 car")

    def test_no_color_is_respected(
        self, publisher: MqttPublisher, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        assert "\x1b[3" not in shown(subscriber)

    def test_a_lost_node_makes_its_cameras_unknown(
        self, publisher: MqttPublisher, subscriber: Subscriber
    ) -> None:
        will = publisher.will()
        assert will is not None
        subscriber.received(Received(will.topic, will.payload, True, 0))
        assert plain_lines(subscriber)[0].startswith("node-1/gate node lost ")

    def test_a_hook_sees_each_message_and_may_fail(
        self, mosquitto: Mosquitto, publisher: MqttPublisher, caplog: pytest.LogCaptureFixture
    ) -> None:
        frame_ids: list[int] = []

        def hook(message: dict[str, Any]) -> None:
            frame_ids.append(message["frame_id"])
            raise RuntimeError("the hook stumbled")

        hooked = subscriber_for(mosquitto.uri, on_detections=hook)
        hooked.start()
        try:
            until(lambda: publisher.is_connected and KEY in hooked.cameras(), "the camera is known")
            for frame_id in range(3):
                publisher.put(detections(frame_id), wait=True)
            until(lambda: len(frame_ids) == 3, "three messages")
        finally:
            hooked.stop()
        assert frame_ids == [0, 1, 2]
        assert hooked.failure is None
        assert "the hook stumbled" in caplog.text


def test_every_state_of_a_camera_has_a_style() -> None:
    assert {state.value for state in CameraState} <= _STATE_STYLES.keys()


class TestOddMessages:
    @pytest.mark.parametrize(
        "payload", [b"\xff\xfe", b"{", b"[]", b"null", b"7", b'{"state": 1}', b'{"objects": 3}']
    )
    @pytest.mark.parametrize(
        "leaf", ["status", "info", "health", "camera/gate/status", "camera/gate/detections"]
    )
    def test_nonsense_is_counted_and_shows_no_camera(self, payload: bytes, leaf: str) -> None:
        subscriber = absent()
        subscriber.received(Received(f"{BASE}/{leaf}", payload, False, 0))
        assert subscriber.broken == 1
        assert (subscriber.nodes(), subscriber.cameras()) == ({}, {})
        subscriber.stop()

    @pytest.mark.parametrize(
        "topic", ["edge/v1/node-1/later", "edge/v2/node-1/status", "edge/v1/n/camera/c/events"]
    )
    def test_topics_of_a_newer_daemon_are_passed_over(self, topic: str) -> None:
        subscriber = absent()
        subscriber.received(Received(topic, b"{", False, 0))
        assert subscriber.broken == 0
        subscriber.stop()

    @pytest.mark.parametrize(
        ("kind", "payload"),
        [
            ("camera/gate/detections", b'{"objects": [], "published_at": 7}'),
            ("camera/gate/detections", b'{"objects": [], "published_at": "0001-01-01T00:00:00"}'),
            ("health", b'{"rss_bytes": 1, "cpu_percent": 1, "cameras": []}'),
            ("health", b'{"rss_bytes": 1, "cpu_percent": 1, "cameras": {"a": 7}}'),
            (
                "health",
                b'{"rss_bytes": 1, "cpu_percent": 1, "cameras": {"\\u001b": {"captured": 1, "dropped": {}}}}',
            ),
            ("info", b'{"model": null}'),
            ("status", b"[" * 2000),
        ],
    )
    def test_what_is_json_of_other_types_is_counted(
        self, kind: str, payload: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        subscriber = absent()
        for _ in range(2):
            subscriber.received(Received(f"{BASE}/{kind}", payload, False, 0))
        assert subscriber.broken == 2
        assert len(caplog.messages) == 1
        subscriber.stop()

    def test_no_message_steers_the_terminal(self) -> None:
        subscriber = absent()
        words = '"\\u001b]0;title\\u0007\\n\\u202e evil"'
        for topic in (f"{BASE}/status", f"{BASE}/camera/gate/status"):
            subscriber.received(
                Received(topic, f'{{"state": {words}, "reason": {words}}}'.encode(), False, 0)
            )
        subscriber.received(Received("edge/v1/a\x1b[2J/status", b'{"state": "x", "reason": null}', False, 0))
        subscriber.stop()
        assert subscriber.broken == 1
        assert all(line.isprintable() for line in plain_lines(subscriber))
        assert "\x1b]" not in shown(subscriber)
        assert "evil" in shown(subscriber)

    def test_publishers_without_end_do_not_fill_the_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edge_app.watch.subscriber.MOST_NODES", 3)
        monkeypatch.setattr("edge_app.watch.subscriber.MOST_CAMERAS", 3)
        monkeypatch.setattr("edge_app.watch.broken.MOST_TOPICS", 3)
        subscriber = absent()
        for number in range(10):
            for place in (f"n{number}", f"n/camera/c{number}"):
                topic = f"edge/v1/{place}/status"
                subscriber.received(Received(topic, b'{"state": "x", "reason": null}', False, 0))
        subscriber.stop()
        assert (len(subscriber.nodes()), len(subscriber.cameras())) == (3, 3)
        assert (subscriber.broken, len(subscriber._broken._by_topic)) == (14, 4)

    def test_an_emptied_topic_takes_its_camera_away(self) -> None:
        subscriber = absent()
        topic = f"{BASE}/camera/gate/status"
        subscriber.received(Received(topic, b'{"state": "lost", "reason": null}', True, 0))
        subscriber.received(Received(f"{BASE}/camera/gate/counts", b"", False, 0))
        assert KEY in subscriber.cameras()
        subscriber.received(Received(topic, b"", False, 0))
        assert subscriber.cameras() == {}
        subscriber.stop()


class TestWatch:
    def test_an_absent_broker_is_said_and_waited_for(self) -> None:
        port, file = free_port(), io.StringIO()
        summary = watch(f"mqtt://127.0.0.1:{port}", seconds=0.5, file=file)
        assert f"No broker, trying again until Ctrl+C: nothing listens at 127.0.0.1:{port}" in file.getvalue()
        assert summary["messages"] == 0
        assert summary["latency_ms"] is None

    @pytest.mark.broker
    @needs_mosquitto
    def test_an_idle_broker_is_said(self, mosquitto: Mosquitto) -> None:
        mosquitto.start()
        file = io.StringIO()
        watch(mosquitto.uri, seconds=2, file=file)
        assert "nothing is published under edge/v1/# yet" in file.getvalue()

    @pytest.mark.broker
    @needs_mosquitto
    def test_it_finds_a_daemon_that_comes_later(self, mosquitto: Mosquitto, parts: Parts) -> None:
        publisher = parts.publisher(mosquitto.uri, Neighbours())
        publisher.start()
        stop = threading.Event()

        def daemon() -> None:
            mosquitto.start()
            while not stop.wait(0.02):
                publisher.put(detections(), wait=False)

        thread = threading.Thread(target=daemon)
        thread.start()
        try:
            summary = watch(mosquitto.uri, seconds=5, file=io.StringIO())
        finally:
            stop.set()
            thread.join()
        assert summary["messages"] > 0
        assert summary["gaps"] == 0

    def test_a_bad_address_is_an_error_at_once(self) -> None:
        with pytest.raises(ConfigError, match="broker URI"):
            watch("localhost:1883")
