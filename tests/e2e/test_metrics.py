"""Metrics and health of the real daemon: they agree with what arrives, and keep its secrets."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edge_app.messages import DropReason
from tests.brokers import Mosquitto, free_port, needs_mosquitto, until
from tests.e2e.conftest import FILM_FRAMES, StartDaemon
from tests.e2e.daemon import BASE
from tests.e2e.scrape import Watcher
from tests.publish.parts import Recorder

pytestmark = [pytest.mark.broker, needs_mosquitto]

YARD = "scene://street?seed=1&size=320x192&fps=10"
STAGES = ("capture", "waiting", "preprocess", "inference", "postprocess", "total")


def test_metrics_agree_with_the_messages(
    start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto, film: Path
) -> None:
    watcher = Watcher()
    door = {"uri": f"rtsp://127.0.0.1:{free_port()}/x"}  # for ever away: the daemon runs on
    start(mosquitto.uri, {"film": str(film), "door": door}, metrics=watcher.section)
    until(lambda: watcher.value("edge_app_camera_state", camera="film", state="ended") == 1, "the film ended")
    topic = f"{BASE}/camera/film/detections"
    until(lambda: len(recorder.on(topic)) == FILM_FRAMES, "all messages arrived")
    time.sleep(1.1)  # older than the answer that is kept

    found = watcher.samples()

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    for name in ("frames_captured", "frames_processed", "messages_published"):
        assert value(f"edge_app_{name}_total", camera="film") == FILM_FRAMES
        assert value(f"edge_app_{name}_total", camera="door") == 0
    for stage in STAGES:
        assert value("edge_app_stage_seconds_count", camera="film", stage=stage) == FILM_FRAMES
        assert value("edge_app_stage_seconds_bucket", camera="film", stage=stage, le="+Inf") == FILM_FRAMES
        told_ms = [message["latency_ms"].get(stage) for message in recorder.on(topic)]
        if stage != "waiting":  # which is in no message
            seconds = value("edge_app_stage_seconds_sum", camera="film", stage=stage)
            # The total is taken a moment before the message takes its own time.
            assert seconds == pytest.approx(sum(told_ms) / 1e3, abs=FILM_FRAMES * 0.5e-3)
    assert sum(value for (name, _), value in found.items() if name == "edge_app_drops_total") == 0
    assert value("edge_app_camera_state", camera="door", state="lost") == 1
    assert value("edge_app_node_state", state="degraded") == 1
    assert value("edge_app_broker_connected") == 1
    assert value("edge_app_batches_in_flight", model="(default)") == 0
    assert value("process_resident_memory_bytes") > 1e7
    (model,) = [dict(labels) for name, labels in found if name == "edge_app_model_info"]
    (told,) = recorder.on(f"{BASE}/info")[-1]["models"]
    assert {key: model[key] for key in ("name", "sha256", "backend")} == {
        key: told[key] for key in ("name", "sha256", "backend")
    }


def test_further_sinks_tell_how_they_do(start: StartDaemon, tmp_path: Path) -> None:
    watcher = Watcher()
    files = {"type": "jsonl", "directory": str(tmp_path / "lines")}
    away = {"type": "mqtt", "uri": f"mqtt://127.0.0.1:{free_port()}"}
    start(None, {"yard": YARD}, metrics=watcher.section, sinks={"files": files, "away": away})
    until(
        lambda: (watcher.value("edge_app_sink_written_messages_total", sink="files") or 0) > 5,
        "lines are written",
    )
    for reason in DropReason:
        assert watcher.value("edge_app_sink_drops_total", sink="files", reason=reason.value) == 0, reason
    assert watcher.value("edge_app_sink_failing", sink="files") == 0
    assert watcher.value("edge_app_sink_failing", sink="away") == 1
    assert (watcher.value("edge_app_sink_drops_total", sink="away", reason="broker_absent") or 0) > 5


def test_health_tells_the_state_of_the_work(
    start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto, film: Path
) -> None:
    watcher = Watcher()
    slow = {"uri": str(film), "realtime": True}
    daemon = start(
        mosquitto.uri, {"film": slow, "door": f"rtsp://127.0.0.1:{free_port()}/x"}, metrics=watcher.section
    )
    until(lambda: watcher.get("/healthz")[0] == 200, "it lives")
    until(lambda: watcher.get("/readyz")[0] == 200, "it works")
    _, document = watcher.probe("/readyz")
    assert (document["ok"], document["reasons"], document["node"]) == (True, [], "degraded")

    mosquitto.kill()
    until(lambda: watcher.value("edge_app_broker_connected") == 0, "the broker is missed")
    until(lambda: watcher.get("/readyz")[0] == 503, "the film is over")
    assert watcher.probe("/readyz")[1]["reasons"] == ["no camera streams"]
    assert watcher.get("/healthz")[0] == 200
    assert daemon.stop() == 0
    assert watcher.get("/healthz")[0] == 0


def test_an_address_that_is_taken_stops_nothing(
    start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto
) -> None:
    watcher = Watcher()
    first = start(mosquitto.uri, {"yard": YARD}, metrics=watcher.section)
    first.until_log_says("metrics and health at")
    second = start(mosquitto.uri, {"yard": YARD}, metrics=watcher.section, mqtt={"client_id": "second"})
    second.until_log_says("The daemon goes on without, and tries again")
    second.until_log_says("camera yard: streaming")


def test_secrets_reach_no_answer(start: StartDaemon, tmp_path: Path) -> None:
    words = "canary word/7f3a@x"
    (tmp_path / "secret").write_text(f"{words}\n")
    (tmp_path / "secret").chmod(0o600)
    watcher = Watcher()
    login = {"username": "canary-user-b81c", "password_file": "secret"}
    daemon = start(
        None,
        {"door": {"uri": f"rtsp://127.0.0.1:{free_port()}/stream1", **login}, "yard": YARD},
        metrics=watcher.section,
        mqtt=login,
    )
    until(lambda: watcher.value("edge_app_camera_state", camera="door", state="lost") == 1, "it is away")
    until(lambda: watcher.get("/readyz")[0] == 200, "the yard streams")
    for path in ("/metrics", "/healthz", "/readyz", "/canary"):
        assert "canary" not in watcher.get(path)[1]
    assert daemon.stop() == 0
    assert "canary" not in daemon.log
