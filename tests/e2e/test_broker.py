"""The broker may be away, die, refuse us or be old: the video goes on, and everything comes back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.brokers import Amqtt, Mosquitto, needs_amqtt, needs_mosquitto, until
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemon import BASE
from tests.publish.parts import Parts, Recorder

SCENE = "scene://street?seed=1&size=320x192&fps=10"
DETECTIONS = f"{BASE}/camera/yard/detections"
SOME_FRAMES_S = 1.0
"""Ten frames of the scene, which find no broker."""


@pytest.mark.broker
@needs_mosquitto
def test_a_broker_that_comes_late_gets_everything(
    start: StartDaemon, mosquitto: Mosquitto, parts: Parts
) -> None:
    daemon = start(mosquitto.uri, {"yard": SCENE})
    daemon.until_log_says("camera yard: streaming")
    daemon.until_log_says("no broker, trying again for ever: nothing listens at")
    time.sleep(SOME_FRAMES_S)
    mosquitto.start()
    recorder = parts.recorder(mosquitto.uri)
    until(lambda: recorder.on(DETECTIONS), "detections arrive")
    until(lambda: recorder.on(f"{BASE}/info"), "what runs is told")
    assert recorder.states()[-1] == "online"
    assert recorder.states(f"{BASE}/camera/yard/status")[-1] == "streaming"
    until(lambda: recorder.on(f"{BASE}/health"), "health is told")
    dropped = recorder.on(f"{BASE}/health")[-1]["cameras"]["yard"]["dropped"]
    assert dropped["broker_absent"] > 0
    assert recorder.on(DETECTIONS)[-1]["dropped_frames"] >= dropped["broker_absent"]


@pytest.mark.broker
@needs_mosquitto
def test_after_a_broker_was_killed_it_goes_on(
    start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto
) -> None:
    daemon = start(mosquitto.uri, {"yard": SCENE})
    until(lambda: recorder.on(DETECTIONS), "detections arrive")
    mosquitto.kill()
    daemon.until_log_says("connection lost: the broker hung up, or the network broke")
    before = len(recorder.on(DETECTIONS))
    mosquitto.start()
    until(lambda: len(recorder.on(DETECTIONS)) > before, "detections arrive again")
    until(lambda: recorder.on(f"{BASE}/health")[-1]["broker_reconnects"] >= 1, "the reconnect is told")
    sequence = [message["seq"] for message in recorder.on(DETECTIONS)]
    assert sequence == sorted(set(sequence))
    assert daemon.stop() == 0


@pytest.mark.broker
@needs_mosquitto
def test_a_wrong_password_is_named_but_not_told_and_the_video_goes_on(
    start: StartDaemon, tmp_path: Path, film: Path
) -> None:
    broker = Mosquitto(tmp_path, users={"edge": "the right one"})
    broker.start()
    (tmp_path / "mqtt.password").write_text("canary-2b6e")
    try:
        daemon = start(
            broker.uri, {"film": str(film)}, mqtt={"username": "edge", "password_file": "mqtt.password"}
        )
        assert daemon.until_ended() == 0
    finally:
        broker.kill()
    assert (
        "no broker, trying again for ever: the broker refused the connection: not authorised: user name or "
        "password missing or wrong, or not allowed to connect; check mqtt.username and the password file"
    ) in daemon.log
    assert "camera film: ended" in daemon.log
    assert "canary" not in daemon.log


@needs_amqtt
def test_a_broker_that_only_knows_3_1_1_is_found_out(start: StartDaemon, parts: Parts) -> None:
    broker = Amqtt()
    broker.start()
    try:
        daemon = start(broker.uri, {"yard": SCENE})
        recorder = parts.recorder(broker.uri, protocol="3.1.1")
        until(lambda: recorder.on(DETECTIONS), "detections arrive", timeout_s=30)
        assert "with MQTT 3.1.1" in daemon.log
        assert recorder.states()[-1] == "online"
        assert daemon.stop() == 0
        until(lambda: recorder.states()[-1] == "stopping", "the last state arrives")
    finally:
        broker.kill()


@pytest.mark.broker
@needs_mosquitto
def test_two_daemons_of_one_name_are_told_what_to_do_and_both_run_on(
    start: StartDaemon, mosquitto: Mosquitto
) -> None:
    mosquitto.start()
    daemons = [start(mosquitto.uri, {"yard": SCENE}) for _ in range(2)]
    told = "ach needs its own (mqtt.client_id)"  # a newer Mosquitto says why, an older one is guessed about
    until(lambda: any(told in daemon.log for daemon in daemons), "one of them is told")
    for daemon in daemons:
        daemon.until_log_says("camera yard: streaming")
        assert daemon.process.poll() is None
    assert [daemon.stop() for daemon in daemons] == [0, 0]
