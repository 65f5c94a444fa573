"""The publisher against a real Mosquitto that comes, goes, freezes and returns."""

from __future__ import annotations

import logging
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from edge_app.config.models import MqttSection
from edge_app.errors import PublishError, StageFailedError
from edge_app.messages import CameraState, CameraStatus, DropReason, NodeState
from edge_app.publish.outbox import outbox
from edge_app.publish.outbox.store import NewRow, OutboxStore
from edge_app.publish.publisher import MqttPublisher
from edge_app.publish.traffic import Message
from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.publish.parts import BASE, Neighbours, Parts, Recorder, detections

pytestmark = [pytest.mark.broker, needs_mosquitto]

DETECTIONS = f"{BASE}/camera/gate/detections"
STREAMING = CameraStatus("gate", CameraState.STREAMING, decoder="ffmpeg", width=1280, height=720)

_PUBLISHING_PROCESS = """
import sys, time
from edge_app.messages import NodeState
from tests.publish.parts import Neighbours, Parts
publisher = Parts().publisher(sys.argv[1], Neighbours())
publisher.set_node_state(NodeState.ONLINE)
publisher.start()
time.sleep(60)
"""


@pytest.fixture
def neighbours() -> Neighbours:
    return Neighbours()


def publish(publisher: MqttPublisher, frame_ids: range, count: int = 2) -> None:
    for frame_id in frame_ids:
        publisher.put(detections(frame_id, count), wait=True)


def connected(publisher: MqttPublisher, recorder: Recorder) -> None:
    until(lambda: publisher.is_connected and recorder.connection.connected, "both are connected")
    until(recorder.states, "the node's status came")


class TestMessages:
    def test_each_kind_arrives_as_its_schema_says(
        self, mosquitto: Mosquitto, parts: Parts, neighbours: Neighbours
    ) -> None:
        mosquitto.start()
        publisher, recorder = parts.publisher(mosquitto.uri, neighbours), parts.recorder(mosquitto.uri)
        publisher.start()
        publisher.set_node_state(NodeState.ONLINE)
        publisher.camera_changed(STREAMING)
        connected(publisher, recorder)
        publish(publisher, range(3))
        until(lambda: len(recorder.on(DETECTIONS)) == 3, "three detections messages")
        for topic in ("status", "info", "health", "camera/gate/status"):
            until(lambda topic=topic: recorder.on(f"{BASE}/{topic}"), topic)  # type: ignore[misc]
        assert publisher.published("gate") == 3
        newest = recorder.on(DETECTIONS)[-1]
        assert newest["frame_id"] == 2
        assert newest["latency_ms"]["total"] > 0
        assert [found["label"] for found in newest["objects"]] == ["person", "car"]
        assert recorder.on(f"{BASE}/camera/gate/status")[-1]["image"] == {"width": 1280, "height": 720}

    def test_numbers_begin_at_zero_and_follow_the_order_of_frames(
        self, mosquitto: Mosquitto, parts: Parts, neighbours: Neighbours
    ) -> None:
        mosquitto.start()
        publisher, recorder = parts.publisher(mosquitto.uri, neighbours), parts.recorder(mosquitto.uri)
        publisher.set_node_state(NodeState.ONLINE)
        publisher.start()
        connected(publisher, recorder)
        publish(publisher, range(500))
        until(lambda: len(recorder.on(DETECTIONS)) == 500, "five hundred messages")
        messages = recorder.on(DETECTIONS)
        assert [message["seq"] for message in messages] == list(range(500))
        assert [message["frame_id"] for message in messages] == list(range(500))
        ids = [message["id"] for message in messages]
        assert ids == sorted(set(ids))
        assert {message["boot"] for message in messages} == {publisher.boot}
        assert neighbours.drops == {}

    def test_frames_without_objects_can_be_left_out(
        self, mosquitto: Mosquitto, parts: Parts, neighbours: Neighbours
    ) -> None:
        mosquitto.start()
        publisher = parts.publisher(mosquitto.uri, neighbours, publish_empty=False)
        recorder = parts.recorder(mosquitto.uri)
        publisher.set_node_state(NodeState.ONLINE)
        publisher.start()
        connected(publisher, recorder)
        publisher.put(detections(0, count=0), wait=True)
        publisher.put(detections(1, count=1), wait=True)
        until(lambda: recorder.on(DETECTIONS), "the frame with an object")
        assert [message["frame_id"] for message in recorder.on(DETECTIONS)] == [1]
        assert neighbours.drops == {}

    def test_frames_without_objects_are_published_by_default(
        self, mosquitto: Mosquitto, parts: Parts, neighbours: Neighbours
    ) -> None:
        mosquitto.start()
        publisher, recorder = parts.publisher(mosquitto.uri, neighbours), parts.recorder(mosquitto.uri)
        publisher.set_node_state(NodeState.ONLINE)
        publisher.start()
        connected(publisher, recorder)
        publisher.put(detections(0, count=0), wait=True)
        until(lambda: recorder.on(DETECTIONS), "the empty frame")
        assert recorder.on(DETECTIONS)[0]["objects"] == []

    def test_detections_before_the_model_is_known_are_a_mistake(self, neighbours: Neighbours) -> None:
        publisher = MqttPublisher(
            MqttSection(),
            node="n",
            drops=neighbours,
            observed=neighbours,
            on_failure=neighbours.failures.append,
        )
        with pytest.raises(PublishError, match="set_info"):
            publisher.put(detections(), wait=False)
        publisher.stop()


class TestStates:
    def test_a_late_subscriber_finds_every_state(
        self, mosquitto: Mosquitto, parts: Parts, neighbours: Neighbours
    ) -> None:
        mosquitto.start()
        publisher = parts.publisher(mosquitto.uri, neighbours)
        publisher.set_node_state(NodeState.ONLINE)
        publisher.camera_changed(STREAMING)
        publisher.start()
        until(publisher.drained, "all states are confirmed")
        recorder = parts.recorder(mosquitto.uri)
        kept = {f"{BASE}/status", f"{BASE}/info", f"{BASE}/camera/gate/status"}
        until(lambda: recorder.retained() == kept, "the three kept topics")
        assert recorder.states() == ["online"]

    def test_a_clean_stop_leaves_final_states(
        self, mosquitto: Mosquitto, parts: Parts, neighbours: Neighbours
    ) -> None:
        mosquitto.start()
        publisher = parts.publisher(mosquitto.uri, neighbours)
        publisher.set_node_state(NodeState.ONLINE)
        publisher.camera_changed(STREAMING)
        publisher.start()
        until(lambda: publisher.is_connected, "a connection")
        publisher.camera_changed(CameraStatus("gate", CameraState.ENDED))
        assert publisher.stop()
        recorder = parts.recorder(mosquitto.uri)
        until(lambda: len(recorder.retained()) == 3, "the kept states")
        assert recorder.states() == ["stopping"]
        assert recorder.states(f"{BASE}/camera/gate/status") == ["ended"]

    def test_what_waits_is_published_before_a_clean_stop(
        self, mosquitto: Mosquitto, parts: Parts, neighbours: Neighbours
    ) -> None:
        mosquitto.start()
        publisher, recorder = parts.publisher(mosquitto.uri, neighbours), parts.recorder(mosquitto.uri)
        publisher.set_node_state(NodeState.ONLINE)
        # Health is not retained: who subscribes later misses the first one.
        until(lambda: recorder.connection.connected, "the recorder is connected")
        publisher.start()
        connected(publisher, recorder)
        publish(publisher, range(100))
        assert publisher.stop()
        until(lambda: len(recorder.on(f"{BASE}/health")) == 2, "health at the start and at the end")
        *_, last = (topic for topic, _ in recorder.everything())
        assert last == f"{BASE}/health"  # so that it counts all
        assert len(recorder.on(DETECTIONS)) == 100
        assert recorder.states() == ["online", "stopping"]
        publisher.put(detections(), wait=True)
        assert neighbours.drops == {DropReason.SHUTDOWN: 1}

    def test_the_broker_tells_of_a_killed_process(self, mosquitto: Mosquitto, parts: Parts) -> None:
        mosquitto.start()
        recorder = parts.recorder(mosquitto.uri)
        root = Path(__file__).parents[2]
        with subprocess.Popen(
            [sys.executable, "-c", _PUBLISHING_PROCESS, mosquitto.uri], cwd=root
        ) as process:
            try:
                until(lambda: "online" in recorder.states(), "the process is online", 30)
            finally:
                process.send_signal(signal.SIGKILL)
        until(lambda: recorder.states()[-1] == "lost", "the will")
        will = recorder.on(f"{BASE}/status")[-1]
        assert will["seq"] is None
        assert will["boot"] == recorder.on(f"{BASE}/status")[0]["boot"]


class TestTrouble:
    def test_a_broker_absent_at_start_is_waited_for(
        self, mosquitto: Mosquitto, parts: Parts, neighbours: Neighbours, caplog: pytest.LogCaptureFixture
    ) -> None:
        publisher = parts.publisher(mosquitto.uri, neighbours)
        publisher.set_node_state(NodeState.STARTING)
        publisher.start()
        until(lambda: publisher.problem, "the problem is told")
        assert "nothing listens" in (publisher.problem or "")
        publish(publisher, range(5))
        assert neighbours.drops == {DropReason.BROKER_ABSENT: 5}
        publisher.set_node_state(NodeState.ONLINE)
        mosquitto.start()
        recorder = parts.recorder(mosquitto.uri)
        connected(publisher, recorder)
        assert publisher.problem is None
        assert recorder.states() == ["online"], "only the newest state"
        publish(publisher, range(5, 6))
        until(lambda: recorder.on(DETECTIONS), "detections")
        assert recorder.on(DETECTIONS)[0]["dropped_frames"] == 5
        assert caplog.text.count("nothing listens at") == 1, "said once, not at every attempt"

    def test_a_killed_broker_that_returns_hears_all_states_again(
        self, mosquitto: Mosquitto, parts: Parts, neighbours: Neighbours
    ) -> None:
        mosquitto.start()
        publisher = parts.publisher(mosquitto.uri, neighbours)
        publisher.set_node_state(NodeState.ONLINE)
        publisher.camera_changed(STREAMING)
        publisher.start()
        until(lambda: publisher.is_connected, "a connection")
        mosquitto.kill()
        until(lambda: not publisher.is_connected, "the loss is noticed")
        publish(publisher, range(3))
        assert neighbours.drops == {DropReason.BROKER_ABSENT: 3}
        mosquitto.start()
        recorder = parts.recorder(mosquitto.uri)
        connected(publisher, recorder)
        until(lambda: recorder.on(f"{BASE}/camera/gate/status"), "the camera's state")
        until(lambda: recorder.on(f"{BASE}/info"), "the info")
        assert publisher.reconnects == 1
        assert neighbours.failures == []

    def test_a_frozen_broker_stops_nobody_and_every_message_is_accounted_for(
        self, mosquitto: Mosquitto, parts: Parts, neighbours: Neighbours
    ) -> None:
        mosquitto.start()
        publisher = parts.publisher(mosquitto.uri, neighbours, queue_size=20)
        recorder = parts.recorder(mosquitto.uri)
        publisher.set_node_state(NodeState.ONLINE)
        publisher.start()
        connected(publisher, recorder)
        mosquitto.freeze()
        try:
            # Far more than the sockets hold; `wait` ends when nothing moves.
            publish(publisher, range(400), count=500)
            assert neighbours.drops[DropReason.PUBLISH_QUEUE_FULL] > 0
        finally:
            mosquitto.thaw()
        until(
            lambda: len(recorder.on(DETECTIONS)) + neighbours.drops.total() == 400,
            "each arrived or was counted",
        )
        messages = recorder.on(DETECTIONS)
        assert [message["seq"] for message in messages] == list(range(len(messages)))
        assert messages[-1]["frame_id"] == 399, "the newest survive"
        assert publisher.reconnects == 0
        assert set(neighbours.drops) == {DropReason.PUBLISH_QUEUE_FULL}

    def test_a_wrong_password_is_named_once_and_never_shown(
        self, tmp_path: Path, parts: Parts, neighbours: Neighbours, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        broker = Mosquitto(tmp_path, users={"camera": "right"})
        broker.start()
        try:
            publisher = parts.publisher(broker.uri, neighbours, username="camera", password="canary-7731")
            attempts = count_attempts(publisher)
            publisher.start()
            until(lambda: attempts.count >= 3, "three attempts")
            assert "not authorised" in (publisher.problem or "")
            assert caplog.text.count("not authorised") == 1
            assert "canary-7731" not in caplog.text
            assert "canary-7731" not in repr(vars(publisher))
            publisher.stop()
            right = parts.publisher(broker.uri, neighbours, username="camera", password="right")
            right.start()
            until(lambda: right.is_connected, "the right password is taken")
        finally:
            broker.kill()

    def test_a_fault_of_our_own_is_reported_not_retried(
        self, mosquitto: Mosquitto, parts: Parts, neighbours: Neighbours
    ) -> None:
        mosquitto.start()
        neighbours.health_error = RuntimeError("no health")
        publisher = parts.publisher(mosquitto.uri, neighbours)
        publisher.start()
        until(lambda: neighbours.failures, "the failure is reported")
        assert isinstance(neighbours.failures[0], StageFailedError)
        assert "no health" in str(neighbours.failures[0])
        until(lambda: not publisher.is_connected, "it has disconnected")

    def test_states_set_from_many_threads_end_with_the_newest(
        self, mosquitto: Mosquitto, parts: Parts, neighbours: Neighbours
    ) -> None:
        mosquitto.start()
        publisher, recorder = parts.publisher(mosquitto.uri, neighbours), parts.recorder(mosquitto.uri)
        publisher.set_node_state(NodeState.ONLINE)
        publisher.start()
        connected(publisher, recorder)

        def change() -> None:
            for number in range(50):
                publisher.camera_changed(CameraStatus("gate", CameraState.LOST, reconnects=number))

        threads = [threading.Thread(target=change) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(publisher.drained, "all confirmed")
        topic = f"{BASE}/camera/gate/status"
        until(lambda: recorder.on(topic) and recorder.on(topic)[-1]["seq"] == 199, "the newest of 200")
        numbers = [payload["seq"] for payload in recorder.on(topic)]
        assert numbers == sorted(numbers)


class Attempts:
    def __init__(self) -> None:
        self.count = 0


def count_attempts(publisher: MqttPublisher) -> Attempts:
    """Count connection attempts: each asks for the will."""
    attempts, will = Attempts(), publisher.will

    def counting() -> object:
        attempts.count += 1
        return will()

    publisher.will = counting  # type: ignore[method-assign, assignment]
    return attempts


class TestRedirecting:
    """A broker that was left must not keep that we are online."""

    @pytest.fixture
    def guarded(self, tmp_path: Path) -> Iterator[Mosquitto]:
        broker = Mosquitto(tmp_path, users={"node": "right", "judge": "fair"})
        broker.start()
        yield broker
        broker.kill()

    def begin(
        self, parts: Parts, neighbours: Neighbours, broker: Mosquitto
    ) -> tuple[MqttPublisher, Recorder]:
        publisher = parts.publisher(broker.uri, neighbours, "right", username="node")
        recorder = parts.recorder(broker.uri, username="judge", password="fair")
        publisher.set_node_state(NodeState.ONLINE)
        publisher.start()
        until(lambda: recorder.states()[-1:] == ["online"], "it is online")
        return publisher, recorder

    def test_as_somebody_whom_the_broker_refuses(
        self, guarded: Mosquitto, parts: Parts, neighbours: Neighbours
    ) -> None:
        publisher, recorder = self.begin(parts, neighbours, guarded)
        section = MqttSection(uri=guarded.uri, username="node")
        publisher.redirect(section, publisher.options_of(section, "mistyped"))
        until(lambda: recorder.states()[-1] == "lost", "the broker tells the will")
        assert publisher.stop(0.5) is False

    @pytest.mark.parametrize("differs", [{"client_id": "another"}, {"keepalive_s": 7}])
    def test_and_ended_before_it_has_come_back(
        self, guarded: Mosquitto, parts: Parts, neighbours: Neighbours, differs: dict[str, Any]
    ) -> None:
        publisher, recorder = self.begin(parts, neighbours, guarded)
        section = MqttSection(uri=guarded.uri, username="node", **differs)
        publisher.redirect(section, publisher.options_of(section, "right"))
        until(lambda: not publisher.is_connected, "it has left")
        publisher.stop(0.5)
        until(lambda: recorder.states()[-1] in ("lost", "stopping"), "the broker knows")

    def test_and_ended_before_it_has_left(
        self, guarded: Mosquitto, parts: Parts, neighbours: Neighbours, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publisher, recorder = self.begin(parts, neighbours, guarded)
        stands, goes_on, next_message = threading.Event(), threading.Event(), publisher.next_message

        def stands_still(*, confirmable: bool) -> Message | None:
            stands.set()
            goes_on.wait(5)
            return next_message(confirmable=confirmable)

        monkeypatch.setattr(publisher, "next_message", stands_still)
        assert stands.wait(5)
        section = MqttSection(uri=guarded.uri, username="node", client_id="another")
        publisher.redirect(section, publisher.options_of(section, "right"))
        ending = threading.Thread(target=publisher.stop)
        ending.start()
        until(publisher._connection._stopping.is_set, "it is being ended")
        goes_on.set()
        ending.join()
        until(lambda: recorder.states()[-1] != "online", "it says that it ends")
        time.sleep(0.3)
        assert recorder.states() == ["online", "stopping"]

    def test_for_its_patience_alone_the_will_is_told_too(
        self, guarded: Mosquitto, parts: Parts, neighbours: Neighbours
    ) -> None:
        publisher, recorder = self.begin(parts, neighbours, guarded)
        section = MqttSection(uri=guarded.uri, username="node", keepalive_s=7, reconnect_max_s=9)
        publisher.redirect(section, publisher.options_of(section, "right"))
        until(lambda: recorder.states() == ["online", "lost", "online"], "it is back")

    def test_not_where_nothing_of_the_connection_differs(
        self, guarded: Mosquitto, parts: Parts, neighbours: Neighbours
    ) -> None:
        publisher, recorder = self.begin(parts, neighbours, guarded)
        publisher.put(detections(0, 0), wait=True)
        same: dict[str, Any] = {"uri": guarded.uri, "username": "node"}
        same |= {"reconnect_min_s": 0.1, "reconnect_max_s": 0.3}
        section = MqttSection(**same, publish_empty=not MqttSection(**same).publish_empty)
        publisher.redirect(section, publisher.options_of(section, "right"))
        publisher.put(detections(1, 0), wait=True)
        publisher.put(detections(2, 1), wait=True)
        until(lambda: 2 in [told["frame_id"] for told in recorder.on(DETECTIONS)], "it publishes on")
        empty = [told["frame_id"] for told in recorder.on(DETECTIONS) if not told["objects"]]
        assert empty == ([1] if section.publish_empty else [0])
        assert (publisher.reconnects, recorder.states()) == (0, ["online"])

    def test_to_a_broker_that_takes_what_the_one_before_refused(
        self, mosquitto: Mosquitto, parts: Parts, neighbours: Neighbours, tmp_path: Path
    ) -> None:
        (tmp_path / "first").mkdir()
        acl = tmp_path / "acl"
        acl.write_text(f"topic readwrite #\ntopic deny {DETECTIONS}\n")
        durable: dict[str, Any] = {
            "delivery": {"detections": "durable"},
            "outbox": {"directory": str(tmp_path / "outbox")},
        }
        first = Mosquitto(tmp_path / "first", lines=[f"acl_file {acl}"])
        first.start()
        mosquitto.start()
        recorder = parts.recorder(mosquitto.uri)
        try:
            publisher = parts.publisher(first.uri, neighbours, **durable)
            publisher.set_node_state(NodeState.ONLINE)
            publisher.start()
            until(lambda: publisher.is_connected, "it is connected")
            publish(publisher, range(3))
            until(lambda: publisher.outbox and publisher.outbox.problem, "they are refused")
            section = MqttSection(uri=mosquitto.uri, **durable)
            publisher.redirect(section, publisher.options_of(section, None))
            until(lambda: len(recorder.on(DETECTIONS)) == 3, "they arrive")
            assert publisher.outbox
            assert publisher.outbox.problem is None
        finally:
            first.kill()


class TestKeeping:
    def test_what_cannot_be_written_waits_in_memory_while_the_broker_is_away(
        self,
        mosquitto: Mosquitto,
        parts: Parts,
        neighbours: Neighbours,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Live it would go nowhere."""
        broken, append = True, OutboxStore.append

        def fails(self: OutboxStore, rows: Sequence[NewRow]) -> None:
            if broken:
                raise sqlite3.OperationalError("database or disk is full")
            append(self, rows)

        monkeypatch.setattr(OutboxStore, "append", fails)
        monkeypatch.setattr(outbox, "RETRY_S", 0.05)
        durable: dict[str, Any] = {
            "delivery": {"detections": "durable"},
            "outbox": {"directory": str(tmp_path)},
        }
        publisher = parts.publisher(mosquitto.uri, neighbours, **durable)
        publisher.set_node_state(NodeState.ONLINE)
        publisher.start()
        publish(publisher, range(1))
        until(lambda: publisher.outbox and publisher.outbox.problem, "the disk fails")
        publish(publisher, range(1, 20))
        assert neighbours.drops == {}
        broken = False
        until(lambda: publisher.outbox and not publisher.outbox.waiting, "everything is written")
        mosquitto.start()
        recorder = parts.recorder(mosquitto.uri)
        until(lambda: len(recorder.on(DETECTIONS)) == 20, "everything arrives")
        assert [message["seq"] for message in recorder.on(DETECTIONS)] == list(range(20))
