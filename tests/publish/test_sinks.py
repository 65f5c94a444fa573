"""Several sinks at once: none of them feels what another one does."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edge_app.config.models import DeliverySection, MqttSinkSection, OutboxSection
from edge_app.interfaces import SinkState
from edge_app.messages import CameraState, CameraStatus, Detections, DropReason, NodeInfo, NodeState
from edge_app.publish.encoders.make import encoder_of_broker
from edge_app.publish.publisher import MqttPublisher
from edge_app.publish.sinks import SinkGroup
from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.publish.parts import BASE, INFO, Neighbours, Parts, detections

DETECTIONS = f"{BASE}/camera/gate/detections"
STREAMING = CameraStatus("gate", CameraState.STREAMING)


class Listed:
    """A sink that keeps what it is told; it may raise, and take its time to end."""

    def __init__(self, *, failing: str = "", ends_after_s: float = 0.0, dropped: int = 0) -> None:
        self.told: list[str] = []
        self._dropped = {DropReason.BROKER_ABSENT: dropped} if dropped else {}
        self._failing, self._ends_after_s = failing, ends_after_s

    def _tell(self, what: str) -> None:
        self.told.append(what)
        if what == self._failing:
            raise RuntimeError(f"no {what}")

    def start(self) -> None:
        self._tell("start")

    def stop(self, timeout_s: float) -> bool:
        time.sleep(self._ends_after_s)
        self._tell("stop")
        return True

    def set_node_state(self, state: NodeState, reason: str | None = None) -> None:
        self._tell(state.value)

    def set_info(self, info: NodeInfo) -> None:
        self._tell("info")

    def camera_changed(self, status: CameraStatus) -> None:
        self._tell("camera")

    def put(self, detections: Detections, *, wait: bool) -> None:
        self._tell("put, waiting" if wait else "put")

    def state(self) -> SinkState:
        return SinkState(None, 0, self.told.count("put"), self._dropped)


def live(group: SinkGroup) -> None:
    """Tell everything that a daemon tells, once."""
    group.start()
    group.set_node_state(NodeState.ONLINE)
    group.set_info(INFO)
    group.camera_changed(STREAMING)
    group.put(detections(), wait=True)
    group.stop(0.5)


class TestGroup:
    def test_all_are_told_everything_and_only_the_main_one_may_wait(self) -> None:
        main, other = Listed(), Listed()
        live(SinkGroup(main, {"other": other}, lambda *_: None))
        assert main.told == ["start", "online", "info", "camera", "put, waiting", "stop"]
        assert other.told == ["start", "online", "info", "camera", "put", "stop"]

    @pytest.mark.parametrize("failing", ["start", "online", "info", "camera", "put", "stop"])
    def test_one_that_raises_is_left_alone(self, failing: str, caplog: pytest.LogCaptureFixture) -> None:
        main, other, bad = Listed(), Listed(), Listed(failing=failing)
        troubles: list[tuple[str, str]] = []
        lock = threading.Lock()

        def trouble(name: str, words: str) -> None:
            with lock:  # as of a watch that tells its sinks while it holds it
                troubles.append((name, words))

        group = SinkGroup(main, {"bad": bad, "other": other}, trouble)
        with lock:
            live(group)
        assert len(main.told) == len(other.told) == 6
        assert bad.told[-1] == "stop", "it is ended all the same"
        assert "RuntimeError" in caplog.text
        if failing != "stop":
            words = f"it has failed (RuntimeError: no {failing})"
            until(lambda: troubles, "it is told")
            assert troubles == [("bad", words)]
            assert group.states()["bad"].problem == words
            assert bad.told.index(failing) == len(bad.told) - 2
        assert group.states()["other"].problem is None

    def test_they_end_at_the_same_time(self) -> None:
        others = {f"{number}": Listed(ends_after_s=0.3) for number in range(5)}
        began_s = time.monotonic()
        assert SinkGroup(Listed(), others, print).stop(1.0)
        assert time.monotonic() - began_s < 0.9

    def test_one_that_comes_later_is_told_everything_before_its_first_frame(self) -> None:
        main, old, new = Listed(), Listed(), Listed()
        group = SinkGroup(main, {"other": old}, lambda *_: None)
        group.start()
        group.set_node_state(NodeState.ONLINE)
        group.set_info(INFO)
        group.camera_changed(STREAMING)
        group.replace("other", new, 0.5)
        group.put(detections(), wait=True)
        assert old.told == ["start", "online", "info", "camera", "stop"]
        assert new.told == ["start", "online", "info", "camera", "put"]
        group.replace("other", None, 0.5)
        group.put(detections(), wait=True)
        assert new.told[-1] == "stop"
        assert group.states() == {}
        assert main.told.count("put, waiting") == 2

    def test_a_new_one_in_the_place_of_one_that_has_failed_is_used(self) -> None:
        bad, new = Listed(failing="info"), Listed()
        group = SinkGroup(Listed(), {"other": bad}, lambda *_: None)
        group.start()
        group.set_info(INFO)
        group.replace("other", new, 0.5)
        group.put(detections(), wait=True)
        assert new.told == ["start", "info", "put"]
        assert group.states()["other"].problem is None

    def test_who_takes_a_place_goes_on_counting(self) -> None:
        group = SinkGroup(Listed(), {"other": Listed(dropped=2)}, lambda *_: None)
        group.start()
        for _ in range(3):
            group.put(detections(), wait=True)
        group.replace("other", Listed(dropped=1), 0.5)
        assert group.states()["other"].written == 3
        group.put(detections(), wait=True)
        group.replace("other", None, 0.5)
        assert group.states() == {}
        group.replace("other", Listed(), 0.5)
        group.put(detections(), wait=True)
        state = group.states()["other"]
        assert (state.written, state.dropped) == (5, {DropReason.BROKER_ABSENT: 3})

    def test_one_that_comes_after_the_end_is_ended_too(self) -> None:
        group = SinkGroup(Listed(), {}, lambda *_: None)
        group.start()
        group.stop(0.5)
        late = Listed()
        group.replace("late", late, 0.5)
        assert late.told == ["stop"]
        assert group.states() == {}

    def test_one_that_starts_while_all_end_is_ended_too(self) -> None:
        group = SinkGroup(Listed(), {}, lambda *_: None)
        group.start()

        class Overtaken(Listed):
            def start(self) -> None:
                super().start()
                ending = threading.Thread(target=group.stop, args=(0.5,))
                ending.start()
                ending.join(5)
                assert not ending.is_alive(), "the end is not held up by it"

        late = Overtaken()
        group.replace("late", late, 0.5)
        assert late.told == ["start", "stop"]

    def test_one_that_does_not_end_is_not_waited_for(self) -> None:
        began_s = time.monotonic()
        assert SinkGroup(Listed(), {"stuck": Listed(ends_after_s=60)}, print).stop(0.1)
        assert time.monotonic() - began_s < 3.0


@needs_mosquitto
@pytest.mark.broker
class TestBrokers:
    """Two real brokers."""

    @pytest.fixture
    def second(self, tmp_path: Path) -> Mosquitto:
        folder = tmp_path / "second"
        folder.mkdir()
        return Mosquitto(folder)

    def further(self, parts: Parts, uri: str, neighbours: Neighbours, **keys: object) -> MqttPublisher:
        fast = {"type": "mqtt", "uri": uri, "reconnect_min_s": 0.1, "reconnect_max_s": 0.3}
        section = MqttSinkSection.model_validate({**fast, **keys})
        publisher = MqttPublisher(
            section,
            node="node-1",
            drops=neighbours,
            observed=neighbours,
            on_failure=neighbours.failures.append,
            encoder=encoder_of_broker(section, "node-1", "0a" * 16),
            name="far",
        )
        parts.take(publisher)
        return publisher

    def test_a_broker_that_stands_still_holds_nobody_up(
        self, mosquitto: Mosquitto, second: Mosquitto, parts: Parts
    ) -> None:
        mosquitto.start()
        second.start()
        near, far = Neighbours(), Neighbours()
        main, house = parts.publisher(mosquitto.uri, near), parts.listener(mosquitto.uri)
        other = self.further(parts, second.uri, far, queue_size=20)
        group = SinkGroup(main, {"far": other}, lambda *_: None)
        group.set_info(INFO)
        group.set_node_state(NodeState.ONLINE)
        group.start()
        until(lambda: main.is_connected and other.is_connected and house.newest(), "all are connected")
        second.freeze()
        try:
            for frame_id in range(300):  # far more than the sockets hold
                group.put(detections(frame_id, count=500), wait=True)
            until(
                lambda: b'"frame_id":299,' in house.newest().get(DETECTIONS, b""), "the last one is there", 5
            )
            assert main.published("gate") == 300
        finally:
            second.thaw()
            second.kill()
        assert near.drops == {}
        assert far.drops[DropReason.PUBLISH_QUEUE_FULL] > 0
        assert group.states()["far"].dropped[DropReason.PUBLISH_QUEUE_FULL] > 0

    def test_each_broker_hears_all_states_when_it_comes_back(
        self, mosquitto: Mosquitto, second: Mosquitto, parts: Parts
    ) -> None:
        mosquitto.start()
        main, recorder = parts.publisher(mosquitto.uri, Neighbours()), parts.recorder(mosquitto.uri)
        other = self.further(parts, second.uri, Neighbours(), encoder="frigate")
        group = SinkGroup(main, {"far": other}, lambda *_: None)
        group.set_info(INFO)
        group.set_node_state(NodeState.ONLINE)
        group.start()
        until(recorder.states, "the main broker has the state")
        until(lambda: group.states()["far"].problem, "the other one is missed")
        assert "nothing listens" in (group.states()["far"].problem or "")
        group.camera_changed(STREAMING)
        group.put(detections(count=3), wait=True)
        here = {"frigate/available": b"online", "frigate/gate/status/detect": b"online"}
        try:
            for _ in range(2):
                second.start()
                house = parts.listener(second.uri)
                until(lambda heard=house: heard.newest().items() >= here.items(), "it is here")  # type: ignore[misc]
                second.kill()
                until(lambda: not other.is_connected, "the loss is noticed")
            second.start()
            house = parts.listener(second.uri)
            until(lambda: other.is_connected and house.newest(), "all are connected")
            time.sleep(1.1)  # counts are told once in a second
            group.put(detections(count=5), wait=True)
            wanted = {"frigate/gate/person": b"3", "frigate/gate/car": b"2", "frigate/gate/all": b"5"}
            until(lambda: house.newest().items() >= wanted.items(), "the counts")
        finally:
            second.kill()
        assert recorder.states() == ["online"]
        assert main.reconnects == 0

    def test_what_is_durable_waits_for_its_own_broker(
        self, mosquitto: Mosquitto, second: Mosquitto, parts: Parts, tmp_path: Path
    ) -> None:
        mosquitto.start()
        durable: dict[str, Any] = {
            "delivery": DeliverySection(detections="durable"),
            "outbox": OutboxSection(directory=str(tmp_path / "outbox")),
        }
        main, far = parts.publisher(mosquitto.uri, Neighbours(), **durable), Neighbours()
        other = self.further(parts, second.uri, far, encoder="deepstream", topic="a/b", **durable)
        group = SinkGroup(main, {"far": other}, lambda *_: None)
        group.set_info(INFO)
        group.start()
        for frame_id in range(50):
            group.put(detections(frame_id), wait=True)
        until(lambda: main.outbox is not None and main.outbox.messages == 0, "the main broker has all")
        assert group.states()["far"].waiting == 50
        second.start()
        try:
            house = parts.listener(second.uri)
            until(lambda: group.states()["far"].waiting == 0, "the other one too")
            assert far.drops == {}
            until(lambda: house.connection.connected, "somebody listens")
            group.put(detections(50), wait=True)
            until(lambda: b'"version":"4.0","id":50,' in house.newest().get("a/b", b""), "it is DeepStream's")
        finally:
            second.kill()
        names = {path.name for path in (tmp_path / "outbox").glob("*.db")}
        assert names == {"node-1.db", "node-1@far.db"}
