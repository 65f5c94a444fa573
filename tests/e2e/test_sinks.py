"""The real daemon with several sinks: what one of them does, the video and the others do not feel."""

from __future__ import annotations

import json
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemon import BASE
from tests.publish.parts import Parts, Recorder, check

pytestmark = [needs_mosquitto]

STREET = "scene://street?seed=1&size=320x192&fps=20"
DETECTIONS = f"{BASE}/camera/yard/detections"
FAST = {"reconnect_min_s": 0.1, "reconnect_max_s": 0.4}


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "second"
    folder.mkdir()
    broker = Mosquitto(folder)
    yield broker
    broker.kill()


def sinks(mosquitto: Mosquitto, second: Mosquitto) -> dict[str, Any]:
    """Return sinks of all kinds: two at a second broker, one at the main one, and two files."""
    return {
        "cloud": {"type": "mqtt", "uri": second.uri, "health_interval_s": 1, **FAST},
        "house": {"type": "mqtt", "uri": second.uri, "encoder": "frigate", **FAST},
        "metro": {"type": "mqtt", "uri": mosquitto.uri, "encoder": "deepstream", "topic": "ds/all"},
        "archive": {"type": "jsonl", "directory": "logs", "health_interval_s": 1},
        "plain": {"type": "jsonl", "directory": "logs", "encoder": "deepstream", "durability": "power"},
        "off": {"type": "jsonl", "directory": "off", "enabled": False},
    }


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def newest_health(recorder: Recorder) -> dict[str, Any]:
    found = recorder.on(f"{BASE}/health")
    return found[-1] if found else {"sinks": {}}


def assert_drops_lie_between_those_of_health(recorder: Recorder) -> None:
    """A busy machine drops frames all the time: what a frame tells lies between two messages of health."""
    dropped = [
        sum(message["cameras"]["yard"]["dropped"].values())
        if topic == f"{BASE}/health"
        else message["dropped_frames"]
        for topic, message in recorder.everything()
        if topic in (f"{BASE}/health", DETECTIONS)
    ]
    assert dropped == sorted(dropped)


def test_every_sink_gets_what_it_reads(
    start: StartDaemon, mosquitto: Mosquitto, second: Mosquitto, parts: Parts, tmp_path: Path
) -> None:
    mosquitto.start()
    second.start()
    near, far = parts.listener(mosquitto.uri), parts.listener(second.uri)
    daemon = start(mosquitto.uri, {"yard": STREET}, sinks=sinks(mosquitto, second))
    until(lambda: near.newest().get(DETECTIONS) and far.newest().get(DETECTIONS), "frames at both brokers")
    until(lambda: "frigate/yard/all" in far.newest(), "counts at the second one")
    until(lambda: near.newest().get("ds/all"), "DeepStream's frames at the first one")
    until(lambda: b'"sinks":{"cloud"' in near.newest().get(f"{BASE}/health", b""), "health tells of them")
    health = json.loads(near.newest()[f"{BASE}/health"])
    assert set(health["sinks"]) == {"cloud", "house", "metro", "archive", "plain"}
    assert {sink["problem"] for sink in health["sinks"].values()} == {None}
    assert far.newest()["frigate/available"] == b"online"
    assert daemon.stop() == 0
    until(lambda: far.newest()["frigate/available"] == b"offline", "the deliberate end")
    archive, plain = tmp_path / "logs" / "archive.jsonl", tmp_path / "logs" / "plain.jsonl"
    for message in lines(archive):
        check(message)
    frames = [line for line in lines(archive) if line["schema"].startswith("edge.detections")]
    assert [line["seq"] for line in frames] == list(range(len(frames)))
    assert [line["id"] for line in lines(plain)] == [line["frame_id"] for line in frames]
    assert lines(archive)[-1]["schema"].startswith("edge.health")
    assert stat.S_IMODE(archive.stat().st_mode) == 0o640
    assert not (tmp_path / "off").exists()


def test_a_second_broker_may_die_and_a_file_may_fail(
    start: StartDaemon,
    recorder: Recorder,
    mosquitto: Mosquitto,
    second: Mosquitto,
    tmp_path: Path,
) -> None:
    (tmp_path / "logs").write_text("a file where the directory should be")
    second.start()
    daemon = start(mosquitto.uri, {"yard": STREET}, sinks=sinks(mosquitto, second))
    until(lambda: "degraded" in recorder.states(), "the file's trouble is told")
    assert "sink archive: " in recorder.on(f"{BASE}/status")[-1]["reason"]
    until(lambda: newest_health(recorder)["sinks"].get("cloud", {}).get("written"), "frames go to the cloud")
    second.freeze()
    before = len(recorder.on(DETECTIONS))
    until(lambda: len(recorder.on(DETECTIONS)) > before + 20, "the video goes on")
    second.thaw()
    second.kill()
    before = len(recorder.on(DETECTIONS))
    until(lambda: newest_health(recorder)["sinks"]["cloud"]["dropped"], "drops are counted")
    until(lambda: len(recorder.on(DETECTIONS)) > before + 20, "the video goes on")
    *_, newest = recorder.on(f"{BASE}/health")
    assert newest["sinks"]["cloud"]["dropped"].keys() <= {"broker_absent", "publish_queue_full"}
    assert "nothing listens" in newest["sinks"]["cloud"]["problem"]
    assert newest["sinks"]["archive"]["dropped"].keys() == {"file_unwritable"}
    assert newest["cameras"]["yard"]["dropped"].keys() <= {"superseded", "too_old"}, "not the camera's drops"
    assert_drops_lie_between_those_of_health(recorder)
    (tmp_path / "logs").unlink()
    until(lambda: recorder.states()[-1] == "online", "the file can be written")
    began_s = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - began_s < 5
    frames = [line for line in lines(tmp_path / "logs" / "archive.jsonl") if "frame_id" in line]
    assert frames[0]["dropped_frames"] > 0


def test_every_broker_tells_of_a_killed_daemon(
    start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto, second: Mosquitto, parts: Parts
) -> None:
    second.start()
    far = parts.listener(second.uri)
    daemon = start(mosquitto.uri, {"yard": STREET}, sinks=sinks(mosquitto, second))
    until(lambda: "online" in recorder.states(), "online")
    until(lambda: far.newest().get("frigate/available") == b"online", "online for Frigate's readers")
    until(lambda: b'"state":"online"' in far.newest().get(f"{BASE}/status", b""), "online at the second one")
    daemon.process.send_signal(signal.SIGKILL)
    until(lambda: recorder.states()[-1] == "lost", "the will at the main broker")
    until(lambda: b'"state":"lost"' in far.newest()[f"{BASE}/status"], "the will at the second one")
    until(lambda: far.newest()["frigate/available"] == b"offline", "and Frigate's")
