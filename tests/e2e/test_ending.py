"""However it ends, it ends soon, and the broker knows."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemon import BASE, ENDS_WITHIN_S
from tests.publish.parts import Parts, Recorder

SCENE = "scene://street?seed=1&size=320x192&fps=10"
CAMERA = f"{BASE}/camera/yard"


@pytest.mark.broker
@needs_mosquitto
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_every_topic_has_its_last_state(
    number: signal.Signals, start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto, parts: Parts
) -> None:
    daemon = start(mosquitto.uri, {"yard": SCENE})
    until(lambda: recorder.on(f"{CAMERA}/detections"), "detections arrive")
    assert daemon.stop(number) == 0
    assert daemon.log.splitlines()[-1].endswith("stopped: it was asked to stop")

    late = parts.recorder(mosquitto.uri)
    until(lambda: len(late.retained()) == 3, "the broker hands out what it kept")
    assert [(it["state"], it["reason"]) for it in late.on(f"{BASE}/status")] == [
        ("stopping", "it was asked to stop")
    ]
    (camera,) = late.on(f"{CAMERA}/status")
    assert (camera["state"], camera["reason"]) == ("ended", "the daemon was stopped")
    *_, health = recorder.on(f"{BASE}/health")
    counts = health["cameras"]["yard"]
    assert counts["published"] == len(recorder.on(f"{CAMERA}/detections"))
    assert counts["captured"] == counts["published"] + sum(counts["dropped"].values())


def test_it_ends_while_the_broker_is_away(start: StartDaemon) -> None:
    daemon = start(None, {"yard": SCENE})
    daemon.until_log_says("camera yard: streaming")
    daemon.until_log_says("nothing listens at 127.0.0.1:1 (connection refused); is the broker running?")
    assert daemon.stop() == 0


def test_it_ends_while_the_broker_is_silent(start: StartDaemon, silent_host: int) -> None:
    daemon = start(f"mqtt://127.0.0.1:{silent_host}", {"yard": SCENE})
    daemon.until_log_says("camera yard: streaming")
    assert daemon.stop() == 0


@pytest.mark.broker
@needs_mosquitto
def test_it_ends_while_the_broker_stands_still(
    start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto
) -> None:
    daemon = start(mosquitto.uri, {"yard": SCENE})
    until(lambda: recorder.on(f"{CAMERA}/detections"), "detections arrive")
    mosquitto.freeze()
    try:
        assert daemon.stop() == 0
    finally:
        mosquitto.thaw()


def test_it_ends_while_a_camera_hangs(start: StartDaemon, silent_host: int) -> None:
    daemon = start(None, {"door": f"rtsp://127.0.0.1:{silent_host}/stream1", "yard": SCENE})
    daemon.until_log_says("camera door: connecting")
    daemon.until_log_says("camera yard: streaming")
    assert daemon.stop() == 0
    assert "camera door: its reader hangs and is left behind" in daemon.log


def test_a_second_signal_ends_it_at_once_and_is_no_failure(
    start: StartDaemon, silent_host: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    daemon = start(None, {"door": f"rtsp://127.0.0.1:{silent_host}/stream1"})
    daemon.until_log_says("camera door: connecting")
    deadline_s = time.monotonic() + ENDS_WITHIN_S
    # The hanging camera holds it up; two signals at the very same moment would be one.
    while daemon.process.poll() is None and time.monotonic() < deadline_s:
        daemon.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert daemon.until_ended() == 128 + signal.SIGINT
    assert "stopped" not in daemon.log
    (record,) = (tmp_path / "state").glob("run-*.json")
    assert json.loads(record.read_text())["process"] is None, "the next start takes it for killed"


@pytest.mark.broker
@needs_mosquitto
def test_when_it_is_killed_the_broker_says_so(
    start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto
) -> None:
    daemon = start(mosquitto.uri, {"yard": SCENE})
    until(lambda: recorder.on(f"{CAMERA}/detections"), "detections arrive")
    daemon.kill()
    until(lambda: recorder.states()[-1] == "lost", "the broker publishes the will")
    *_, status = recorder.on(f"{BASE}/status")
    assert status["reason"] == "the connection to the broker broke"
