"""Commands over a real broker: response topic and correlation data, and what a retained one does."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_app.config.models import MqttSection
from edge_app.messages import FrameInfo, NodeState
from edge_app.publish.commands.command import DisableCamera, TakeSnapshot
from edge_app.publish.commands.registry import CommandRegistry, Outcome, Snapshot
from edge_app.publish.publisher import MqttPublisher
from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.publish.parts import BASE, INFO, Neighbours, check

pytestmark = [pytest.mark.broker, needs_mosquitto]

COMMAND = f"{BASE}/cmd/camera/yard/disable"


class Panel:
    """Somebody who sends commands and waits for answers."""

    def __init__(
        self, port: int, version: str, username: str | None = None, password: str | None = None
    ) -> None:
        self.five = version == "5"
        protocol = paho.MQTTv5 if self.five else paho.MQTTv311
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=username or "panel", protocol=protocol
        )
        self.client.username_pw_set(username, password)
        self.answers: list[paho.MQTTMessage] = []
        self._ready = threading.Event()
        self.client.on_message = lambda _client, _userdata, message: self.answers.append(message)
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe([("panel/answers", 1), (f"{BASE}/reply", 1)])
        assert self._ready.wait(10)

    def send(
        self, payload: bytes = b"", *, retain: bool = False, topic: str = COMMAND, **wanted: Any
    ) -> None:
        properties = None
        if wanted:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            for name, value in wanted.items():
                setattr(properties, name, value)
        self.client.publish(topic, payload, 1, retain, properties).wait_for_publish(5)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Node:
    """A publisher that takes commands, in one version of MQTT."""

    def __init__(
        self,
        uri: str,
        version: str,
        username: str | None = None,
        password: str | None = None,
        jpeg_bytes: int = 100,
        **commands: Any,
    ) -> None:
        self.commands: list[DisableCamera] = []
        self.began = False
        self.takes_s = 0.0
        self._jpeg_bytes = jpeg_bytes
        registry = CommandRegistry()
        registry.add(DisableCamera, self._disable)
        registry.add(TakeSnapshot, self._snapshot)
        neighbours = Neighbours()
        section: dict[str, Any] = {"uri": uri, "protocol": version, "username": username}
        section["commands"] = {"enabled": True, **commands}
        self.publisher = MqttPublisher(
            MqttSection.model_validate(section),
            node="node-1",
            drops=neighbours,
            observed=neighbours,
            on_failure=neighbours.failures.append,
            commands=registry,
            password=password,
        )
        self.publisher.set_info(INFO)
        self.publisher.start()

    def _snapshot(self, command: TakeSnapshot) -> Outcome:
        info = FrameInfo(command.camera, 41, 1, 1_700_000_000_000_000_000, 1920, 1080)
        return Outcome("taken", Snapshot(info, bytes(self._jpeg_bytes), 640, 360))

    def _disable(self, command: DisableCamera) -> Outcome:
        self.began = True
        time.sleep(self.takes_s)
        self.commands.append(command)
        return Outcome("done")


StartNode = Callable[..., Node]


@pytest.fixture
def start_node(mosquitto: Mosquitto) -> Iterator[StartNode]:
    nodes: list[Node] = []

    def start(version: str, **commands: Any) -> Node:
        nodes.append(Node(mosquitto.uri, version, **commands))
        until(lambda: nodes[-1].publisher.is_connected, "the node is connected")
        until(nodes[-1].publisher.drained, "it has told its states")
        return nodes[-1]

    yield start
    for node in nodes:
        node.publisher.stop(0.5)


@pytest.fixture
def panel(mosquitto: Mosquitto) -> Iterator[Callable[[str], Panel]]:
    mosquitto.start()
    made: list[Panel] = []

    def begin(version: str) -> Panel:
        made.append(Panel(mosquitto.port, version))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def test_request_and_response_of_mqtt_5(panel: Callable[[str], Panel], start_node: StartNode) -> None:
    sender, node = panel("5"), start_node("5")
    sender.send(b'{"request_id": "a"}', ResponseTopic="panel/answers", CorrelationData=b"\x00\xff7")
    until(lambda: sender.answers, "the answer")
    (answer,) = sender.answers
    payload = json.loads(answer.payload)
    check(payload)
    assert (answer.topic, payload["request_id"], payload["ok"]) == ("panel/answers", "a", True)
    properties = vars(answer.properties)
    assert properties["CorrelationData"] == b"\x00\xff7"
    assert 0 < properties["MessageExpiryInterval"] <= 60
    assert properties["ContentType"] == "application/json"
    assert node.commands == [DisableCamera(camera="yard", request_id="a")]


@pytest.mark.parametrize(("of_node", "of_panel"), [("3.1.1", "3.1.1"), ("3.1.1", "5"), ("5", "3.1.1")])
def test_without_a_response_topic_the_node_s_own_is_used(
    panel: Callable[[str], Panel], start_node: StartNode, of_node: str, of_panel: str
) -> None:
    sender = panel(of_panel)
    start_node(of_node)
    sender.send()
    until(lambda: sender.answers, "the answer")
    assert sender.answers[0].topic == f"{BASE}/reply"
    check(json.loads(sender.answers[0].payload))


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_command_that_the_broker_kept_is_ignored(
    panel: Callable[[str], Panel], start_node: StartNode, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    sender = panel(version)
    sender.send(b"{}", retain=True)  # an empty one would not be kept
    node = start_node(version)
    until(lambda: "a retained command was ignored" in caplog.text, "it is told")
    sender.send(b'{"request_id": "meant"}')
    until(lambda: sender.answers, "the answer")
    assert [command.request_id for command in node.commands] == ["meant"]


def test_with_mqtt_5_a_command_is_known_to_be_retained_when_it_is_published(
    panel: Callable[[str], Panel], start_node: StartNode, caplog: pytest.LogCaptureFixture
) -> None:
    sender, node = panel("5"), start_node("5")
    sender.send(b"{}", retain=True)
    until(lambda: "a retained command was ignored" in caplog.text, "it is told")
    assert node.commands == []


def test_where_commands_are_off_nothing_is_taken(
    panel: Callable[[str], Panel], start_node: StartNode
) -> None:
    sender, node = panel("5"), start_node("5", enabled=False)
    sender.send(ResponseTopic="panel/answers")
    node.publisher.set_node_state(NodeState.ONLINE)
    until(node.publisher.drained, "what was sent later is confirmed")
    assert (node.commands, sender.answers) == ([], [])


def test_the_access_control_of_the_docs_lets_through_what_it_should(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    docs = (Path(__file__).parents[3] / "docs" / "mqtt.md").read_text(encoding="utf-8")
    acl = docs.partition("```acl\n")[2].partition("```")[0]
    assert "user panel" in acl
    (tmp_path / "acl").write_text(acl)
    users = {"node-1": "n", "panel": "p", "stranger": "s"}
    broker = Mosquitto(tmp_path, users=users, lines=(f"acl_file {tmp_path}/acl",))
    broker.start()
    stranger, panel = Panel(broker.port, "5", "stranger", "s"), Panel(broker.port, "5", "panel", "p")
    node = Node(broker.uri, "5", username="node-1", password="n")
    try:
        until(
            lambda: node.publisher.is_connected and node.publisher.drained(), "the node has told its states"
        )
        stranger.send(b'{"request_id": "stranger"}', ResponseTopic="panel/answers", CorrelationData=b"1")
        panel.send(b'{"request_id": "panel"}', ResponseTopic="panel/answers", CorrelationData=b"2")
        until(lambda: panel.answers, "the answer")
    finally:
        node.publisher.stop(0.5)
        stranger.close()
        panel.close()
        broker.kill()
    assert [command.request_id for command in node.commands] == ["panel"]
    assert stranger.answers == []
    assert "refuses" not in caplog.text


@pytest.mark.parametrize("jpeg_bytes", [1000, 6000])
def test_a_snapshot_that_the_broker_does_not_take_is_answered_with_the_figures(
    tmp_path: Path, jpeg_bytes: int
) -> None:
    broker = Mosquitto(tmp_path, lines=["max_packet_size 5000"])
    broker.start()
    sender = Panel(broker.port, "5")
    node = Node(broker.uri, "5", jpeg_bytes=jpeg_bytes)
    try:
        until(lambda: node.publisher.is_connected, "the node is connected")
        until(node.publisher.drained, "it has told its states")
        sender.send(topic=f"{BASE}/cmd/snapshot/yard", ResponseTopic="panel/answers")
        until(lambda: sender.answers, "the answer")
        payload = json.loads(sender.answers[0].payload)
        check(payload)
        if jpeg_bytes == 1000:
            assert (payload["ok"], payload["snapshot_id"] is None) == (True, False)
            return
        assert (payload["ok"], payload["error"]["code"]) == (False, "too_large")
        found = re.search(r"it has (\d+) bytes, the broker takes 5000; ask", payload["error"]["message"])
        assert found is not None
        assert 8000 < int(found[1]) < 9000
        assert node.publisher.reconnects == 0
    finally:
        sender.close()
        node.publisher.stop(0.5)
        broker.kill()


def test_the_end_waits_for_a_command_that_is_being_carried_out(mosquitto: Mosquitto) -> None:
    mosquitto.start()
    sender, node = Panel(mosquitto.port, "5"), Node(mosquitto.uri, "5")
    node.takes_s = 0.7
    until(lambda: node.publisher.is_connected, "the node is connected")
    until(node.publisher.drained, "it has told its states")
    sender.send()
    until(lambda: node.began, "it is being carried out")
    node.publisher.stop(0.2)
    assert node.publisher._desk is not None
    assert not node.publisher._desk._thread.is_alive()
    assert node.commands
    sender.close()
