"""A camera that is away disturbs no other, says why, and keeps its credentials to itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.brokers import Mosquitto, free_port, needs_mosquitto, until
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemon import BASE
from tests.publish.parts import Recorder

pytestmark = [pytest.mark.broker, needs_mosquitto]

USER, PASSWORD = "canary-user-b81c", "canary word/7f3a@x"


def test_one_camera_streams_while_another_is_away(
    start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "door.password").write_text(f"{PASSWORD}\n")
    (tmp_path / "door.password").chmod(0o600)
    port = free_port()
    daemon = start(
        mosquitto.uri,
        {
            "yard": "scene://street?seed=1&size=320x192&fps=10",
            "door": {
                "uri": f"rtsp://127.0.0.1:{port}/stream1",
                "username": USER,
                "password_file": "door.password",
                "reconnect_min_s": 0.2,
                "reconnect_max_s": 2.0,
            },
        },
        "--log-level",
        "debug",
    )
    until(lambda: len(recorder.on(f"{BASE}/camera/yard/detections")) >= 5, "the yard streams")
    daemon.until_log_says("camera door: tried again in", times=3)
    until(lambda: "degraded" in recorder.states(), "the node is degraded")
    streamed = len(recorder.on(f"{BASE}/camera/yard/detections"))
    until(lambda: len(recorder.on(f"{BASE}/camera/yard/detections")) > streamed, "the yard streams on")

    *_, status = recorder.on(f"{BASE}/status")
    assert (status["state"], status["reason"]) == ("degraded", "door lost")
    assert set(recorder.states(f"{BASE}/camera/door/status")) == {"connecting", "lost"}
    *_, door = recorder.on(f"{BASE}/camera/door/status")
    assert door["reason"] == f"127.0.0.1:{port} refuses connections"
    assert recorder.states(f"{BASE}/camera/yard/status")[-1] == "streaming"

    waits_s = [float(found) for found in re.findall(r"camera door: tried again in ([0-9.]+) s", daemon.log)]
    assert 0.1 <= waits_s[0] <= 0.2
    assert max(waits_s[2:]) > waits_s[0]

    cmdline = Path(f"/proc/{daemon.process.pid}/cmdline").read_text()
    assert daemon.stop() == 0
    until(lambda: recorder.states()[-1] == "stopping", "the last state arrived")
    published = json.dumps(recorder.everything())
    for text in (daemon.log, published, cmdline):
        assert "canary" not in text


def test_a_camera_that_hangs_is_lost_and_the_other_streams(
    start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto, silent_host: int
) -> None:
    start(
        mosquitto.uri,
        {
            "yard": "scene://street?seed=1&size=320x192&fps=10",
            "door": {"uri": f"rtsp://127.0.0.1:{silent_host}/stream1", "open_timeout_s": 0.5},
        },
    )
    until(lambda: recorder.states(f"{BASE}/camera/door/status")[-1:] == ["lost"], "the door is lost")
    *_, door = recorder.on(f"{BASE}/camera/door/status")
    assert "answer" in door["reason"]
    streamed = len(recorder.on(f"{BASE}/camera/yard/detections"))
    until(lambda: len(recorder.on(f"{BASE}/camera/yard/detections")) > streamed + 3, "the yard streams on")
