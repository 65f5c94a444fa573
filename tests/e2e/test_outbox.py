"""Durable detections of the real daemon: kept over an outage, and live where the disk does not take them."""

from __future__ import annotations

import time
from pathlib import Path

from edge_app.publish.outbox.window import LATE_S
from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemon import BASE
from tests.faults.proxy import Proxy
from tests.publish.parts import Recorder

pytestmark = [needs_mosquitto]

STREET = "scene://street?seed=1&size=320x192&fps=10"
DETECTIONS = f"{BASE}/camera/yard/detections"
DURABLE = {"delivery": {"detections": "durable"}, "outbox": {"directory": "outbox"}}


def numbers(recorder: Recorder) -> list[int]:
    return [message["seq"] for message in recorder.on(DETECTIONS)]


def test_what_was_found_while_the_broker_was_away_comes_later(
    start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    proxy = Proxy(mosquitto.port)
    daemon = start(proxy.uri, {"yard": STREET}, mqtt=DURABLE)
    until(lambda: len(numbers(recorder)) >= 5, "detections come")
    proxy.away = True
    proxy.cut()
    time.sleep(LATE_S + 1)  # ten frames a second are found meanwhile
    proxy.away = False
    until(lambda: len(numbers(recorder)) >= 50, "they come")
    found = list(dict.fromkeys(numbers(recorder)))
    assert found == list(range(len(found)))
    replayed = [message["seq"] for message in recorder.on(DETECTIONS) if message["replayed"]]
    assert 5 <= len(replayed) < len(found)
    until(lambda: len(recorder.on(f"{BASE}/health")) >= 1, "health is told")
    assert recorder.on(f"{BASE}/health")[-1]["outbox"]["problem"] is None
    assert daemon.stop() == 0
    proxy.close()


def test_a_disk_that_takes_nothing_is_told_and_detections_go_live(
    start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "outbox").write_text("a file where the directory should be")
    daemon = start(mosquitto.uri, {"yard": STREET}, mqtt=DURABLE)
    until(lambda: "degraded" in recorder.states(), "the node is degraded")
    *_, status = recorder.on(f"{BASE}/status")
    assert "outbox" in status["reason"]
    until(lambda: len(numbers(recorder)) >= 10, "detections come all the same")
    until(lambda: len(recorder.on(f"{BASE}/health")) >= 1, "health is told")
    assert "outbox" in recorder.on(f"{BASE}/health")[-1]["outbox"]["problem"]
    assert daemon.stop() == 0
