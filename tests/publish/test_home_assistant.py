"""What Home Assistant is told, checked as its own code checks it, and its templates on real messages.

`ALLOWED` and the rules below are those of `DEVICE_DISCOVERY_SCHEMA`, `TOPIC_MATCHER` and the schemas of its
platforms in homeassistant/components/mqtt, version 2026.11.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jinja2 import Environment, StrictUndefined

from edge_app.messages import CameraState, CameraStatus, Detections, FrameInfo, ModelInfo, NodeInfo, NodeState
from edge_app.publish.counts import CountWatch
from edge_app.publish.home_assistant import USUAL, Discovery
from edge_app.publish.topics import Topics
from edge_app.publish.traffic import Received
from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.publish.parts import BASE, INFO, MODEL, Neighbours, Parts, Recorder, detections

OBJECT_ID = re.compile(r"homeassistant/device/(?:[a-zA-Z0-9_-]+/)?[a-zA-Z0-9_-]+/config")
ALLOWED = {
    "payload": {"device", "origin", "components"},
    "device": {"identifiers", "manufacturer", "model", "name", "sw_version", "via_device"},
    "origin": {"name", "sw_version"},
    "component": {
        *(
            "platform",
            "name",
            "unique_id",
            "state_topic",
            "value_template",
            "device_class",
            "entity_category",
        ),
        *("availability", "availability_mode", "expire_after"),
    },
    "sensor": {"state_class", "unit_of_measurement", "suggested_display_precision"},
    "availability": {"topic", "value_template"},
}
BINARY_CLASSES = {"connectivity", "occupancy", "problem"}


def discovery(node: str = "node-1", classes: tuple[str, ...] = (), *, durable: bool = False) -> Discovery:
    return Discovery("homeassistant", Topics("edge", node), classes, 10.0, durable)


def check(topic: str, payload: Mapping[str, Any]) -> None:
    """Fail unless Home Assistant would take the message."""
    assert OBJECT_ID.fullmatch(topic)
    assert payload.keys() == ALLOWED["payload"]
    assert payload["device"].keys() <= ALLOWED["device"]
    assert payload["device"]["identifiers"]
    assert payload["origin"].keys() <= ALLOWED["origin"]
    for part in payload["components"].values():
        sensor = part["platform"] == "sensor"
        assert part.keys() <= ALLOWED["component"] | (ALLOWED["sensor"] if sensor else set())
        assert part["unique_id"]
        assert not any(letter in part["state_topic"] for letter in "+#")
        if not sensor:
            assert part["platform"] == "binary_sensor"
            assert part["device_class"] in BINARY_CLASSES
        assert part.get("entity_category", "diagnostic") == "diagnostic"  # neither may be `config`
        assert part.get("availability_mode", "all") in {"all", "any", "latest"}
        for available in part.get("availability", ()):
            assert available.keys() == ALLOWED["availability"]


def render(template: str, payload: Mapping[str, Any]) -> str:
    return (
        Environment(undefined=StrictUndefined, autoescape=False)
        .from_string(template)
        .render(value_json=payload)
    )


@pytest.mark.parametrize("node", ["node-1", "front.garden", "a_b"])
@pytest.mark.parametrize("durable", [False, True])
def test_every_message_is_one_that_it_takes(node: str, durable: bool) -> None:
    odd = ModelInfo("m", "0" * 64, ('it"s', "häuser", "a b", "x'y\\z"), "tensorrt", "fp16")
    info = NodeInfo("1", "3", "Linux", 0, {"gate": MODEL, "gate.2": odd, "gate-2": MODEL})
    messages = list(discovery(node, durable=durable).messages(info))
    for topic, payload in messages:
        check(topic, json.loads(json.dumps(payload)))
    assert len({topic for topic, _ in messages}) == 4
    unique = [part["unique_id"] for _, payload in messages for part in payload["components"].values()]
    assert len(unique) == len(set(unique))
    assert ("outbox" in messages[0][1]["components"]) is durable
    camera = messages[2][1]["components"]
    counts = {"counts": {'it"s': 3, "häuser": 1, "x'y\\z": 2}}
    found = [int(render(camera[f"count_{number}"]["value_template"], counts)) for number in range(4)]
    assert found == [3, 1, 0, 2]
    assert render(camera["occupancy_2"]["value_template"], counts) == "OFF"


def test_names_that_would_read_the_same_in_a_row_stay_apart() -> None:
    nodes = [
        Discovery("homeassistant", Topics(root, node), (), 10.0, durable=False)
        for root, node in (("edge", "cam"), ("edge", "cam-hall"), ("edge-cam", "hall"), ("edge", "cam_hall"))
    ]
    info = NodeInfo("1", "3", "Linux", 0, dict.fromkeys(("1", "hall-1", "hall_1", "hall.1"), MODEL))
    messages = [message for node in nodes for message in node.messages(info)]
    assert len({topic for topic, _ in messages}) == len(messages) == 4 * 5
    assert len({payload["device"]["identifiers"][0] for _, payload in messages}) == len(messages)
    unique = [part["unique_id"] for _, payload in messages for part in payload["components"].values()]
    assert len(unique) == len(set(unique))
    for topic, payload in messages:
        check(topic, payload)


def test_a_label_that_no_model_has_is_told(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    house = {"enabled": True, "classes": ("car", "persn", "zebra")}
    parts.publisher("mqtt://127.0.0.1:1", Neighbours(), home_assistant=house)
    assert [record.message for record in caplog.records if "classes" in record.message] == [
        "mqtt.home_assistant.classes: no model has the label persn; did you mean person?",
        "mqtt.home_assistant.classes: no model has the label zebra",
    ]


def test_a_large_model_shows_what_people_ask_for() -> None:
    labels = (*USUAL, *(f"thing {number}" for number in range(72)))
    model = ModelInfo("coco", "0" * 64, labels, "tensorrt", "fp16")
    assert discovery().shown(model) == list(USUAL)
    assert discovery(classes=("thing 3", "cat")).shown(model) == ["cat", "thing 3"]
    assert discovery().shown(MODEL) == ["person", "car"]


def frame(*classes: int) -> Detections:
    count = len(classes)
    info = FrameInfo("gate", 0, time.monotonic_ns(), time.time_ns(), 64, 48)
    return Detections(
        info, np.zeros((count, 4), np.float32), np.ones(count, np.float32), np.array(classes, np.int32)
    )


def test_counts_are_told_when_they_change_and_not_for_every_flicker() -> None:
    now_s = 0.0
    watch = CountWatch(3, interval_s=1.0, clock=lambda: now_s)

    def take(*classes: int) -> list[int] | None:
        found = watch.take(frame(*classes))
        return None if found is None else found.tolist()

    assert take(0, 0, 2) == [2, 0, 1]
    now_s = 0.5
    assert take(0, 1) is None
    now_s = 1.0
    assert take(0) == [1, 1, 0]  # the most of the second, at once
    now_s = 2.0
    assert take(0) == [1, 0, 0]
    now_s = 3.0
    assert take(0) is None  # as before
    now_s = 4.0
    assert take() == [0, 0, 0]


@pytest.mark.broker
@needs_mosquitto
def test_a_session_as_it_sees_it(parts: Parts, mosquitto: Mosquitto) -> None:
    mosquitto.start()
    house = House(parts, mosquitto)
    publisher = parts.publisher(
        mosquitto.uri, Neighbours(), home_assistant={"enabled": True}, health_interval_s=1
    )
    publisher.start()
    publisher.set_node_state(NodeState.ONLINE)
    publisher.camera_changed(CameraStatus("gate", CameraState.STREAMING))
    publisher.put(detections(1, 3), wait=False)
    until(lambda: house.state("count_0") == "2", "two people are counted")
    assert house.devices() == {"edge-app node-1", "gate"}
    assert house.state("occupancy_1") == "ON"
    assert house.state("connection") == "ON"
    assert house.state("problem") == "OFF"
    assert house.state("status") == "online"
    until(lambda: house.state("fps") == "29.97", "health comes")
    assert float(house.state("memory")) == pytest.approx(100e6 / 2**20)

    publisher.camera_changed(CameraStatus("gate", CameraState.LOST, "gone"))
    until(lambda: house.state("count_0") == "unavailable", "what a lost camera saw is unavailable")
    assert house.state("connection") == "OFF"
    publisher.stop()
    until(lambda: house.state("connection") == "unavailable", "a node that has ended is unavailable")
    assert house.state("status") == "stopping"


@pytest.mark.broker
@needs_mosquitto
def test_when_it_starts_it_hears_everything_again(parts: Parts, mosquitto: Mosquitto) -> None:
    mosquitto.start()
    house = House(parts, mosquitto)
    publisher = parts.publisher(mosquitto.uri, Neighbours(), home_assistant={"enabled": True})
    publisher.start()
    until(lambda: len(house.devices()) == 2, "both devices are there")
    before = house.configs
    publisher.received(Received("homeassistant/status", b"offline", False, 0))
    publisher.received(Received("homeassistant/status", b"online", False, 0))
    publisher._connection.wake()
    until(lambda: house.configs == before + 2, "both are told again")


@pytest.mark.broker
@needs_mosquitto
def test_a_camera_that_has_gone_is_removed_and_does_not_come_back(parts: Parts, mosquitto: Mosquitto) -> None:
    mosquitto.start()
    recorder = parts.recorder(mosquitto.uri)
    publisher = parts.publisher(mosquitto.uri, Neighbours(), home_assistant={"enabled": True})
    both = replace(INFO, models={"gate": MODEL, "yard": MODEL})
    publisher.set_info(both)
    publisher.start()
    until(lambda: recorder.connection.connected, "the recorder listens")
    for name in both.models:
        publisher.camera_changed(CameraStatus(name, CameraState.STREAMING))
        publisher.put(detections(1, 3, name), wait=False)
    config = "homeassistant/device/edge__node-1/camera-{}/config".format
    wanted = {config(name) for name in both.models} | {f"{BASE}/camera/{name}/counts" for name in both.models}
    until(lambda: wanted <= {topic for topic, _ in recorder.everything()}, "both cameras are there")

    publisher.camera_changed(CameraStatus("yard", CameraState.ENDED, "it was taken out"))
    publisher.set_info(replace(INFO, history={"yard": ((0, MODEL),)}))
    publisher.put(detections(2, 1, "yard"), wait=False)  # was on its way
    of_yard = [config("yard"), f"{BASE}/camera/yard/counts"]
    until(lambda: recorder.cleared() == of_yard, "its device goes, then what the device used")
    until(publisher._states.settled, "the broker has it all")

    count = len(recorder.everything())
    mosquitto.kill()
    mosquitto.start()  # it has forgotten everything
    until(publisher._states.settled, "the broker has it all again")
    of_gate = {config("gate"), f"{BASE}/camera/gate/status", f"{BASE}/camera/gate/counts"}

    def again() -> set[str]:
        return {topic for topic, _ in recorder.everything()[count:]}

    until(lambda: of_gate <= again(), "the other camera is told again")
    assert {topic for topic in again() if "yard" in topic} == set()
    assert recorder.cleared() == of_yard

    publisher.set_info(both)
    until(lambda: recorder.everything()[-1][0] == config("yard"), "it may come back")


def test_without_it_nobody_is_told(parts: Parts) -> None:
    publisher = parts.publisher("mqtt://127.0.0.1:1", Neighbours())
    publisher.received(Received("homeassistant/status", b"online", False, 0))
    assert publisher.subscriptions == ()


class House:
    """What Home Assistant makes of the messages: entities with their states."""

    def __init__(self, parts: Parts, mosquitto: Mosquitto) -> None:
        self._recorder: Recorder = parts.recorder(mosquitto.uri)

    def _parts(self) -> dict[str, dict[str, Any]]:
        return {
            key: part
            for topic, payload in self._recorder.everything()
            if topic.startswith("homeassistant/")
            for key, part in payload["components"].items()
        }

    @property
    def configs(self) -> int:
        """How many discovery messages have come."""
        return sum(topic.startswith("homeassistant/") for topic, _ in self._recorder.everything())

    def devices(self) -> set[str]:
        return {
            payload["device"]["name"]
            for topic, payload in self._recorder.everything()
            if topic.startswith("homeassistant/")
        }

    def state(self, key: str) -> str:
        part = self._parts().get(key)
        if part is None:
            return "unknown"
        for available in part.get("availability", ()):
            newest = self._recorder.on(available["topic"])[-1:]
            if not newest or render(available["value_template"], newest[0]) != "online":
                return "unavailable"
        newest = self._recorder.on(part["state_topic"])[-1:]
        return render(part["value_template"], newest[0]) if newest else "unknown"
