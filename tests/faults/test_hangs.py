"""A part of the daemon that hangs ends the process, by name and in time; a restart is all that helps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.e2e.daemon import BASE, Daemon, write_config
from tests.e2e.scrape import Watcher
from tests.processes import environment
from tests.publish.parts import Parts, Recorder
from tests.service_manager import ServiceManager

pytestmark = [pytest.mark.broker, needs_mosquitto]

SCENE = "scene://street?seed=1&size=320x192&fps=10"
WATCHDOG_S = 3.0
ENDING_S = 9.0
"""What the daemon gives itself to end in order, and a second more."""


def start_daemon(
    folder: Path, config: Path, part: str, trigger: Path, deadline_s: str, **env: str
) -> subprocess.Popen[bytes]:
    """Start a daemon of which a part hangs once `trigger` is there; its log is `log` in the folder."""
    with (folder / "log").open("r+b" if (folder / "log").is_fifo() else "wb", buffering=0) as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.hanging_daemon", config, part, trigger, deadline_s],
            env=environment(RUNTIME_DIRECTORY=str(folder / "run"), **env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(tmp_path)
    yield manager
    manager.close()


@pytest.mark.parametrize(
    ("part", "deadline_s"),
    [("inference", 10.0), ("feeder", 1.5), ("postprocess", 1.5), ("publisher", 1.5), ("capture", 1.5)],
)
def test_what_hangs_is_named_and_ends_the_process(
    mosquitto: Mosquitto, parts: Parts, manager: ServiceManager, tmp_path: Path, part: str, deadline_s: float
) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("onnxruntime")
    mosquitto.start()
    recorder = parts.recorder(mosquitto.uri)
    config = write_config(tmp_path / "edge.yaml", mosquitto.uri, {"yard": SCENE})
    trigger, log = tmp_path / "hang", tmp_path / "log"
    process = start_daemon(
        tmp_path, config, part, trigger, str(deadline_s), **manager.environment(WATCHDOG_S)
    )
    try:
        until(lambda: len(recorder.on(f"{BASE}/camera/yard/detections")) > 5, "it works")
        until(lambda: "1" in manager.values("WATCHDOG"), "the watchdog is told")
        trigger.touch()
        hung_s = time.monotonic()
        assert process.wait(deadline_s + ENDING_S) == 1
        took_s = time.monotonic() - hung_s
    finally:
        process.kill()
        process.wait()
    said = log.read_text(encoding="utf-8")
    assert f"edge-app: stage '{part}' hangs: it has work and has done nothing for" in said
    assert "hanging_daemon.py" in said, "its stack shows where"
    assert took_s > deadline_s - 1
    until(lambda: "trigger" in manager.values("WATCHDOG"), "the watchdog is triggered")
    assert manager.values("WATCHDOG")[-1] == "trigger"
    lived_s = max(told.at_s for told in manager.told if (told.name, told.value) == ("WATCHDOG", "1"))
    assert lived_s < hung_s + deadline_s + 1, "nothing said that it lived when it was known to hang"
    assert any(f"stage '{part}' hangs" in status for status in manager.values("STATUS"))
    assert not manager.values("STOPPING"), "systemd would take it for an end on purpose"
    *_, status = recorder.on(f"{BASE}/status")
    if part == "publisher":
        until(lambda: recorder.on(f"{BASE}/status")[-1]["state"] == "lost", "the broker says so")
    else:
        assert (status["state"], f"stage '{part}' hangs" in status["reason"]) == ("stopping", True)


def test_a_log_that_nobody_reads_does_not_keep_it_from_its_end(
    manager: ServiceManager, tmp_path: Path
) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("onnxruntime")
    config = write_config(tmp_path / "edge.yaml", None, {"yard": SCENE})
    trigger, log = tmp_path / "hang", tmp_path / "log"
    os.mkfifo(log)
    places = {"STATE_DIRECTORY": str(tmp_path / "state")}
    process = start_daemon(tmp_path, config, "postprocess", trigger, "1.5", **places, **manager.environment())
    filling = os.open(log, os.O_WRONLY | os.O_NONBLOCK)
    try:
        until(lambda: manager.values("READY"), "it works", timeout_s=30)
        with suppress(BlockingIOError):
            while os.write(filling, b"x" * 512):
                pass
        trigger.touch()
        assert process.wait(1.5 + ENDING_S + 1) == 1, "the log is waited for, twice for half a second"
    finally:
        process.kill()
        process.wait()
        os.close(filling)
    assert manager.values("WATCHDOG")[-1] == "trigger"
    assert any("stage 'postprocess' hangs" in status for status in manager.values("STATUS"))


def test_a_hang_is_told_by_the_next_run_though_the_process_is_killed_meanwhile(
    manager: ServiceManager, tmp_path: Path
) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("onnxruntime")
    watcher = Watcher()
    config = write_config(tmp_path / "edge.yaml", None, {"yard": SCENE}, metrics=watcher.section)
    trigger, places = tmp_path / "hang", {"STATE_DIRECTORY": str(tmp_path / "state")}
    process = start_daemon(tmp_path, config, "postprocess", trigger, "1.5", **places, **manager.environment())
    try:
        until(lambda: watcher.get("/readyz")[0] == 200, "it works", timeout_s=30)
        assert watcher.value("edge_app_failures_total", reason="hung") == 0
        trigger.touch()
        until(lambda: any("hangs" in said for said in manager.values("STATUS")), "it is known to hang")
    finally:
        process.kill()
        process.wait()
    daemon = Daemon(config, **places)
    try:
        until(lambda: watcher.get("/readyz")[0] == 200, "the next one works", timeout_s=30)
        found = {
            reason: watcher.value("edge_app_failures_total", reason=reason)
            for reason in ("hung", "failed", "killed")
        }
        assert found == {"hung": 1, "failed": 0, "killed": 0}
        told_s = watcher.value("edge_app_last_failure_time_seconds", reason="hung", stage="postprocess")
        assert told_s == pytest.approx(time.time(), abs=120)
        daemon.kill()
        daemon = Daemon(config, **places)
        until(
            lambda: watcher.value("edge_app_failures_total", reason="killed") == 1, "SIGKILL is counted", 30
        )
        assert watcher.value("edge_app_failures_total", reason="hung") == 1
        assert daemon.stop() == 0
        daemon = Daemon(config, **places)
        until(lambda: watcher.value("edge_app_failures_total", reason="hung") == 1, "it goes on", 30)
        assert watcher.value("edge_app_failures_total", reason="killed") == 1, "SIGTERM is not"
    finally:
        daemon.kill()


def test_a_daemon_without_any_camera_lives_on_and_says_so(
    mosquitto: Mosquitto, parts: Parts, manager: ServiceManager, tmp_path: Path
) -> None:
    """Every camera is away for several deadlines: there is no work, and so nobody hangs."""
    mosquitto.start()
    recorder = parts.recorder(mosquitto.uri)
    config = write_config(tmp_path / "edge.yaml", mosquitto.uri, {"yard": "rtsp://127.0.0.1:9/a"})
    process = start_daemon(
        tmp_path, config, "none", tmp_path / "never", "1.0", **manager.environment(WATCHDOG_S)
    )
    try:
        until(lambda: manager.values("WATCHDOG"), "the watchdog is told")
        began_s = time.monotonic()
        until(lambda: recorder.states()[-1:] == ["degraded"], "the node says that it has none")
        assert recorder.on(f"{BASE}/status")[-1]["reason"] == "no camera is left: yard lost"
        time.sleep(max(0.0, began_s + 4.0 - time.monotonic()))
        assert process.poll() is None, (tmp_path / "log").read_text()
        last_s = max(told.at_s for told in manager.told if told.name == "WATCHDOG")
        assert time.monotonic() - last_s < WATCHDOG_S
        assert set(manager.values("WATCHDOG")) == {"1"}
    finally:
        process.kill()
        process.wait()


def test_time_in_which_the_process_stands_still_does_not_count(
    mosquitto: Mosquitto, parts: Parts, manager: ServiceManager, tmp_path: Path
) -> None:
    """SIGSTOP, docker pause, a machine that was suspended: no camera is stalled by it, and no stage hangs.

    It does so while a stage holds a batch, for longer than that stage may.
    """
    mosquitto.start()
    recorder = parts.recorder(mosquitto.uri)
    cameras = {
        f"scene-{seed}": {"uri": f"scene://street?seed={seed}&size=160x96&fps=1", "stall_s": 2}
        for seed in range(6)
    }
    config, log = write_config(tmp_path / "edge.yaml", mosquitto.uri, cameras), tmp_path / "log"
    trigger = tmp_path / "hang"
    process = start_daemon(tmp_path, config, "postprocess", trigger, "4.5", **manager.environment())
    try:
        for camera in cameras:
            until(lambda c=camera: recorder.on(f"{BASE}/camera/{c}/detections"), f"{camera} works")  # type: ignore[misc]
        trigger.touch()
        time.sleep(0.8)
        process.send_signal(signal.SIGSTOP)
        time.sleep(6.0)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.7)  # long enough for a look at it
        trigger.unlink()
        seen = {camera: len(recorder.on(f"{BASE}/camera/{camera}/detections")) for camera in cameras}
        for camera, count in seen.items():
            topic = f"{BASE}/camera/{camera}"
            until(lambda t=topic, n=count: len(recorder.on(f"{t}/detections")) > n + 1, f"{camera} goes on")  # type: ignore[misc]
        assert process.poll() is None, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert "stalled" not in log.read_text()
    assert "hangs" not in log.read_text()


def test_a_disk_that_hangs_costs_what_was_to_be_kept_on_it_and_nothing_else(
    mosquitto: Mosquitto, parts: Parts, manager: ServiceManager, tmp_path: Path
) -> None:
    """That of the main broker's outbox, and of a further sink's: the rest goes on, and it is told."""
    mosquitto.start()
    recorder = parts.recorder(mosquitto.uri)
    durable = {"delivery": {"detections": "durable"}, "outbox": {"directory": str(tmp_path / "outbox")}}
    cloud = {"type": "mqtt", "uri": mosquitto.uri, "root": "cloud", "encoder": "edge", **durable}
    archive = {"type": "jsonl", "directory": str(tmp_path / "archive"), "health_interval_s": 1}
    sinks = {"cloud": cloud, "archive": archive}
    config = write_config(tmp_path / "edge.yaml", mosquitto.uri, {"yard": SCENE}, mqtt=durable, sinks=sinks)
    trigger, log = tmp_path / "hang", tmp_path / "log"
    process = start_daemon(tmp_path, config, "disk", trigger, "1.5", **manager.environment(WATCHDOG_S))
    try:
        until(lambda: len(recorder.on(f"{BASE}/camera/yard/detections")) > 5, "it works")
        until(lambda: "1" in manager.values("WATCHDOG"), "the watchdog is told")
        trigger.touch()
        hung_s = time.monotonic()
        until(lambda: held_back(recorder) > 20, "messages wait for the disk")
        until(lambda: time.monotonic() > hung_s + 6.0, "several deadlines pass")
        assert process.poll() is None, log.read_text()
        assert "hangs" not in log.read_text()
        healths = len(recorder.on(f"{BASE}/health"))
        until(lambda: len(recorder.on(f"{BASE}/health")) > healths, "health goes on")
        last_s = max(told.at_s for told in manager.told if told.name == "WATCHDOG")
        assert time.monotonic() - last_s < WATCHDOG_S
        assert set(manager.values("WATCHDOG")) == {"1"}
        until(lambda: recorder.states()[-1] == "degraded", "it is told")
        lines = (tmp_path / "archive" / "archive.jsonl").read_bytes()
        until(lambda: (tmp_path / "archive" / "archive.jsonl").read_bytes() != lines, "the file goes on")
        seen = len(recorder.on(f"{BASE}/camera/yard/detections"))
        until(lambda: len(recorder.on(f"{BASE}/camera/yard/detections")) > seen + 5, "detections go out live")
        trigger.unlink()
        until(lambda: recorder.states()[-1] == "online", "the disk answers again")
        until(lambda: held_back(recorder) < 20, "what waited is sent")
        until(lambda: not missing(recorder), "all of it has arrived")
        trigger.touch()
        process.terminate()
        assert process.wait(ENDING_S) == 0
        assert recorder.states()[-1] == "stopping"
    finally:
        process.kill()
        process.wait()


def missing(recorder: Recorder) -> set[int]:
    """Return the numbers of detections that have not come, of those before the newest that has."""
    seen = {message["seq"] for message in recorder.on(f"{BASE}/camera/yard/detections")}
    return set(range(max(seen))) - seen


def held_back(recorder: Recorder) -> int:
    """Return how many messages wait for the disk, by the newest health."""
    *_, health = recorder.on(f"{BASE}/health")
    return int(health["outbox"]["messages"])
