"""Commands to the real daemon: cameras off and on, a snapshot, a reload, and what it refuses."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_app.scene import StreetScene
from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemon import BASE
from tests.publish.parts import Recorder

pytestmark = [pytest.mark.broker, needs_mosquitto]

WIDTH, HEIGHT = 640, 384
STREET = f"scene://street?seed=1&size={WIDTH}x{HEIGHT}&fps=10"
YARD, GATE = (f"{BASE}/camera/{name}" for name in ("yard", "gate"))


class Panel:
    """Sends commands with a correlation, and waits for the answers to them."""

    def __init__(self, port: int) -> None:
        self._answers: dict[bytes, dict[str, Any]] = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="panel", protocol=paho.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe("panel/answers", 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def ask(self, name: str, **payload: Any) -> dict[str, Any]:
        correlation = uuid.uuid4().bytes
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic, properties.CorrelationData = "panel/answers", correlation
        content = json.dumps(payload).encode()
        self._client.publish(f"{BASE}/cmd/{name}", content, 1, properties=properties)
        until(lambda: correlation in self._answers, f"the answer to {name}")
        return self._answers[correlation]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        self._answers[vars(message.properties)["CorrelationData"]] = json.loads(message.payload)


@pytest.fixture
def panel(mosquitto: Mosquitto, recorder: Recorder) -> Iterator[Panel]:
    made = Panel(mosquitto.port)
    yield made
    made.close()


def state(recorder: Recorder, camera: str) -> str:
    told = recorder.states(f"{camera}/status")
    return told[-1] if told else ""


def test_commands(start: StartDaemon, recorder: Recorder, panel: Panel, mosquitto: Mosquitto) -> None:
    daemon = start(mosquitto.uri, {"yard": STREET, "gate": STREET}, mqtt={"commands": {"enabled": True}})
    until(lambda: recorder.on(f"{YARD}/detections") and recorder.on(f"{GATE}/detections"), "both stream")

    assert panel.ask("camera/yard/disable", request_id="1")["ok"]
    until(lambda: state(recorder, YARD) == "disabled", "its state is told")
    before = len(recorder.on(f"{YARD}/detections"))
    seen = len(recorder.on(f"{GATE}/detections"))
    until(lambda: len(recorder.on(f"{GATE}/detections")) >= seen + 15, "the other one goes on")
    assert len(recorder.on(f"{YARD}/detections")) <= before + 2
    assert recorder.states()[-1] == "online"  # it is as somebody wanted it
    health = recorder.on(f"{BASE}/health")[-1]
    assert health["cameras"]["yard"]["state"] == "disabled"

    refused = panel.ask("snapshot/yard")
    assert (refused["ok"], refused["error"]["code"]) == (False, "not_available")
    assert "it is disabled" in refused["error"]["message"]

    assert panel.ask("camera/yard/enable")["ok"]
    until(lambda: state(recorder, YARD) == "streaming", "it streams again")
    assert panel.ask("reload")["result"] == "nothing to change"
    config = daemon.config.read_text()
    daemon.config.write_text("cameras: {}")
    refused = panel.ask("reload")
    assert refused["error"]["code"] == "failed"
    assert "nothing was changed" in refused["error"]["message"]
    daemon.config.write_text(config)
    unknown = panel.ask("camera/attic/enable")
    assert unknown["error"]["code"] == "unknown_camera"
    assert "there are yard, gate" in unknown["error"]["message"]
    assert panel.ask("snapshot/gate", quality=101)["error"]["code"] == "bad_request"
    assert daemon.stop() == 0


def test_a_snapshot_is_the_picture_that_the_detections_are_of(
    start: StartDaemon, recorder: Recorder, panel: Panel, mosquitto: Mosquitto
) -> None:
    daemon = start(mosquitto.uri, {"gate": STREET}, mqtt={"commands": {"enabled": True}})
    until(lambda: recorder.on(f"{GATE}/detections"), "it streams")
    reply = panel.ask("snapshot/gate", request_id="now", quality=95)
    until(lambda: recorder.on(f"{GATE}/snapshot"), "the picture")
    (snapshot,) = recorder.on(f"{GATE}/snapshot")
    assert (reply["snapshot_id"], snapshot["request_id"]) == (snapshot["id"], "now")
    assert snapshot["image"] == snapshot["frame"] == {"width": WIDTH, "height": HEIGHT}
    number = snapshot["frame_id"]
    detections = f"{GATE}/detections"
    until(lambda: recorder.on(detections)[-1]["frame_id"] > number, "its frame, and one more")
    (of_it,) = [message for message in recorder.on(detections) if message["frame_id"] == number]
    assert of_it["captured_at"] == snapshot["captured_at"]
    jpeg = np.frombuffer(base64.b64decode(snapshot["jpeg_base64"]), np.uint8)
    decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    assert decoded is not None
    # The scene renders the same frame to whoever asks.
    index = round(snapshot["media_time_s"] * 10) if snapshot["media_time_s"] is not None else number
    rendered = StreetScene(seed=1, width=WIDTH, height=HEIGHT, fps=10).render(index)
    assert np.abs(decoded.astype(int) - rendered.astype(int)).mean() < 4
    assert daemon.stop() == 0


def test_commands_are_off_unless_they_are_enabled(
    start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto
) -> None:
    daemon = start(mosquitto.uri, {"gate": STREET})
    until(lambda: recorder.on(f"{GATE}/detections"), "it streams")
    sender = paho.Client(CallbackAPIVersion.VERSION2, client_id="sender")
    sender.connect("127.0.0.1", mosquitto.port)
    sender.loop_start()
    sender.publish(f"{BASE}/cmd/camera/gate/disable", b"{}", 1).wait_for_publish(5)
    seen = len(recorder.on(f"{GATE}/detections"))
    until(lambda: len(recorder.on(f"{GATE}/detections")) >= seen + 15, "it goes on")
    sender.disconnect()
    sender.loop_stop()
    assert recorder.on(f"{BASE}/reply") == []
    assert daemon.stop() == 0
