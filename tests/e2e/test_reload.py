"""A running daemon takes over what changed in its configuration, and nothing else feels it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import le
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Mosquitto, free_port, needs_mosquitto, until
from tests.e2e.conftest import FILM_FRAMES
from tests.e2e.daemon import BASE, Daemon, write_config
from tests.e2e.scrape import Watcher
from tests.processes import edge_app_says
from tests.publish.parts import Parts, Recorder
from tests.service_manager import ServiceManager

pytestmark = [pytest.mark.broker, needs_mosquitto]

YARD, DOOR, GATE = (f"scene://street?seed={seed}&size=160x96&fps=5" for seed in (1, 2, 3))


class Node:
    """A daemon, the configuration that it reads, and who hears it."""

    def __init__(self, folder: Path, broker: Mosquitto, recorder: Recorder, manager: ServiceManager) -> None:
        self.folder, self.broker, self.recorder, self.manager = folder, broker, recorder, manager
        self.config = folder / "edge.yaml"
        self.daemon: Daemon

    def write(self, cameras: dict[str, Any], **sections: Any) -> None:
        write_config(self.config, sections.pop("broker", self.broker.uri), cameras, **sections)

    def start(self, cameras: dict[str, Any], *options: str, **sections: Any) -> None:
        self.write(cameras, **sections)
        self.daemon = Daemon(self.config, *options, **self.manager.environment())
        until(lambda: self.manager.values("READY"), "READY=1 is told")

    def says(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run `edge-app reload`."""
        return edge_app_says("reload", *options, env={"RUNTIME_DIRECTORY": str(self.folder / "run")})

    def reload(self, cameras: dict[str, Any], status: int = 0, **sections: Any) -> str:
        self.write(cameras, **sections)
        done = self.says("--config", str(self.config))  # root may run others
        assert done.returncode == status, (done.stdout, done.stderr, self.daemon.log)
        return (done.stdout + done.stderr).strip()

    def frames(self, camera: str) -> list[dict[str, Any]]:
        return self.recorder.on(f"{BASE}/camera/{camera}/detections")

    def until_more(self, camera: str, count: int = 5, timeout_s: float = 20.0) -> None:
        before = len(self.frames(camera))
        until(lambda: len(self.frames(camera)) >= before + count, f"{camera} goes on", timeout_s)


@pytest.fixture
def node(tmp_path: Path, mosquitto: Mosquitto, parts: Parts) -> Iterator[Node]:
    pytest.importorskip("cv2")
    pytest.importorskip("onnxruntime")
    mosquitto.start()
    manager = ServiceManager(tmp_path)
    made = Node(tmp_path, mosquitto, parts.recorder(mosquitto.uri), manager)
    yield made
    made.daemon.kill()
    manager.close()


def unharmed(node: Node, camera: str, frames: list[dict[str, Any]] | None = None) -> None:
    """Fail if the camera was connected to again, or one of its frames is missing that was not counted."""
    # Told again to a broker that was connected to again: the same messages, by their ids.
    told = {status["id"]: status["state"] for status in node.recorder.on(f"{BASE}/camera/{camera}/status")}
    assert [state for state in told.values() if state != "connecting"] == ["streaming"]
    frames = node.frames(camera) if frames is None else frames
    seq = [frame["seq"] for frame in frames]
    assert seq == list(range(seq[0], seq[0] + len(seq)))
    dropped = frames[-1]["dropped_frames"] - frames[0]["dropped_frames"]
    ids = [frame["frame_id"] for frame in frames]
    missing = ids[-1] - ids[0] - (len(ids) - 1)
    assert abs(missing - dropped) <= 2, "every frame came, or was counted; some of the next ones too"


def test_cameras_come_go_and_change_and_the_others_go_on(node: Node) -> None:
    node.start({"yard": YARD, "door": DOOR})
    node.until_more("yard")
    node.until_more("door")

    assert node.reload({"yard": YARD, "door": DOOR, "gate": GATE}) == "edge-app: camera gate added"
    node.until_more("gate")
    assert node.recorder.on(f"{BASE}/info")[-1]["cameras"] == ["yard", "door", "gate"]

    words = node.reload({"yard": YARD, "door": {"uri": DOOR, "max_fps": 4}, "gate": GATE})
    assert words == "edge-app: camera door altered"
    before = node.frames("door")[-1]["frame_id"]
    node.until_more("door")
    ids = [frame["frame_id"] for frame in node.frames("door")]
    assert sorted(set(ids)) == ids, "its frames go on being counted"
    assert ids[-1] > before
    assert node.recorder.on(f"{BASE}/camera/door/status")[-1]["state"] == "streaming"

    assert node.reload({"yard": YARD, "gate": {"uri": GATE, "enabled": False}}) == (
        "edge-app: camera door removed; camera gate removed"
    )
    until(lambda: node.recorder.states(f"{BASE}/camera/door/status")[-1] == "ended", "the door has ended")
    *_, door = node.recorder.on(f"{BASE}/camera/door/status")
    assert door["reason"] == "it was taken out of the configuration"
    node.until_more("yard")  # what was on its way has come
    count = len(node.frames("door"))
    node.until_more("yard", 15)
    assert len(node.frames("door")) == count
    until(lambda: node.recorder.on(f"{BASE}/health")[-1]["cameras"].keys() == {"yard"}, "health knows")
    assert node.recorder.on(f"{BASE}/status")[-1]["state"] == "online"

    assert node.reload({"yard": YARD, "door": DOOR}) == "edge-app: camera door added"
    node.until_more("door")
    ids = [frame["frame_id"] for frame in node.frames("door")]
    assert sorted(set(ids)) == ids, "also when it comes back"
    unharmed(node, "yard")
    assert node.daemon.stop() == 0


def test_a_file_that_is_not_valid_changes_nothing_and_says_so(node: Node) -> None:
    node.start({"yard": YARD})
    node.until_more("yard")
    words = node.reload({"yard": YARD, "door": DOOR}, 78, inference={"max_batches": 3})
    assert "nothing was changed" in words
    assert "max_batches" in words
    assert "max_batches" in node.daemon.log
    until(lambda: node.recorder.states()[-1] == "degraded", "the node says so")
    assert "the configuration was not reloaded: " in node.recorder.on(f"{BASE}/status")[-1]["reason"]
    until(lambda: len(node.manager.values("READY")) == 2, "systemd hears that it works on")
    told = [(told.name, told.value) for told in node.manager.told]
    began = told.index(("RELOADING", "1"))
    assert told[began + 1][0] == "MONOTONIC_USEC"
    assert ("READY", "1") in told[began:]
    usec = int(node.manager.values("MONOTONIC_USEC")[-1])
    heard = next(told.at_s for told in node.manager.told if told.name == "RELOADING")
    assert 0 <= heard - usec / 1e6 < 1
    for content in ("", "cameras: {}", "cameras: [", "\0"):
        node.config.write_text(content)
        assert node.says("--config", str(node.config)).returncode == 78
    node.config.unlink()
    assert "There is no configuration file" in node.says("--config", str(node.config)).stderr
    assert node.recorder.on(f"{BASE}/info")[-1]["cameras"] == ["yard"]

    assert node.reload({"yard": YARD}, inference={"backend": "onnxruntime"}) == "edge-app: nothing to change"
    until(lambda: node.recorder.states()[-1] == "online", "all is well again")
    node.until_more("yard")
    unharmed(node, "yard")


def test_what_needs_a_restart_is_named_and_the_rest_is_taken_over(node: Node) -> None:
    node.start({"yard": YARD})
    node.until_more("yard")
    changed: dict[str, Any] = {
        "node": {"name": "node-2"},
        "inference": {"backend": "onnxruntime", "max_batch": 2},
        "models": {"faces": {"path": "demo"}},
        "mqtt": {"root": "other", "keepalive_s": 20},
        "log": {"level": "debug"},
    }
    away = f"rtsp://127.0.0.1:{free_port()}/a"
    wanted = {"yard": YARD, "door": DOOR, "away": away, "hall": {"uri": GATE, "model": "faces"}}
    words = node.reload(wanted, 3, **changed)
    assert "log.level debug; broker; camera door added; camera away added" in words
    for key in ("node.name", "inference.max_batch", "mqtt.root", "cameras.hall"):
        assert f"{key} needs a restart" in words
    node.until_more("door")
    node.daemon.until_log_says("camera away: tried again in")
    assert node.recorder.on(f"{BASE}/info")[-1]["cameras"] == ["yard", "door", "away"]
    again = node.reload(wanted, 3, **changed)
    assert again.startswith("edge-app: nothing to change; as before: node.name needs a restart")
    unharmed(node, "yard")


def test_thresholds_change_with_the_next_frame(node: Node) -> None:
    node.start({"yard": YARD})
    until(lambda: any(frame["objects"] for frame in node.frames("yard")), "it sees something")
    assert node.reload({"yard": YARD}, postprocess={"confidence_threshold": 0.999}) == (
        "edge-app: postprocess.confidence_threshold"
    )
    node.until_more("yard", 3)
    before = len(node.frames("yard"))
    node.until_more("yard", 10)
    assert not any(frame["objects"] for frame in node.frames("yard")[before:])
    words = node.reload({"yard": YARD}, 78, postprocess={"classes": ["unicorn"]})
    assert "the model has no label 'unicorn'" in words
    node.reload({"yard": YARD}, postprocess={"classes": ["car"], "confidence_threshold": 0.1})
    until(lambda: node.frames("yard")[-1]["objects"], "it sees again")
    assert {found["label"] for found in node.frames("yard")[-1]["objects"]} == {"car"}
    unharmed(node, "yard")


def test_the_broker_changes_and_numbers_go_on(node: Node, parts: Parts, tmp_path: Path) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    second = Mosquitto(folder)
    second.start()
    try:
        node.start({"yard": YARD})
        node.until_more("yard")
        recorder = parts.recorder(second.uri)
        assert node.reload({"yard": YARD}, broker=second.uri) == "edge-app: broker"
        topic = f"{BASE}/camera/yard/detections"
        until(lambda: len(recorder.on(topic)) > 5, "the second broker hears it")
        until(lambda: node.recorder.states()[-1] == "lost", "the first one says that it has gone")
        assert recorder.states()[-1] == "online"
        assert recorder.states(f"{BASE}/camera/yard/status") == ["streaming"]
        assert recorder.on(topic)[0]["seq"] > node.frames("yard")[-1]["seq"], "numbers go on"
        first, *_ = recorder.on(topic)
        assert first["boot"] == node.frames("yard")[-1]["boot"]
        assert recorder.on(f"{BASE}/camera/yard/status")[-1]["reconnects"] == 0
    finally:
        second.kill()


def test_sinks_come_and_go(node: Node, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    archive = {"type": "jsonl", "directory": str(lines)}
    node.start({"yard": YARD})
    assert node.reload({"yard": YARD}, sinks={"archive": archive}) == "edge-app: sink archive added"

    def written() -> list[dict[str, Any]]:
        content = "".join(file.read_text() for file in sorted(lines.glob("*.jsonl")))
        return [json.loads(line) for line in content.splitlines()]

    def frames() -> list[dict[str, Any]]:
        return [message for message in written() if message["schema"].startswith("edge.detections")]

    until(lambda: lines.exists() and len(frames()) > 5, "the file has frames")
    assert {"edge.info", "edge.node_status", "edge.camera_status"} <= {
        message["schema"].partition("/")[0] for message in written()
    }

    def counted() -> int:
        told = node.recorder.on(f"{BASE}/health")[-1]["sinks"].get("archive", {})
        return int(told.get("written", 0))

    until(lambda: counted() > 5, "health counts them")
    altered = {**archive, "publish_empty": False}
    assert node.reload({"yard": YARD}, sinks={"archive": altered}) == "edge-app: sink archive altered"
    before = len(frames())
    until(lambda: len(frames()) > before + 3, "it goes on")
    until(lambda: counted() >= before + 3, "the count goes on", timeout_s=5)
    seq = [frame["seq"] for frame in frames()]
    assert seq == sorted(set(seq)), "numbers go on"
    assert node.reload({"yard": YARD}) == "edge-app: sink archive removed"
    count = len(written())
    node.until_more("yard", 10)
    assert len(written()) == count
    assert node.recorder.on(f"{BASE}/health")[-1]["sinks"] == {}
    unharmed(node, "yard")


def udp_sockets(pid: int) -> int:
    mine = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # it may be closed just now
            mine.add(str(link.readlink()))
    inodes = [line.split()[9] for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]]
    return sum(f"socket:[{inode}]" in mine for inode in inodes)


@pytest.fixture
def rtsp_uris() -> Iterator[dict[str, str]]:
    """RTSP cameras, where OpenCV reads them through FFmpeg."""
    parts = pytest.importorskip("tests.capture.parts", reason="it needs OpenCV")
    gstreamer = pytest.importorskip("edge_app.capture.gstreamer")
    if lacking := parts.rtsp_server_lacks():
        pytest.skip(lacking)
    if gstreamer.opencv_has_gstreamer():
        pytest.skip("GStreamer takes a transport for each camera")
    # One each: the server shares its video, and a session that ends takes it from the others.
    servers = {name: parts.RtspServer() for name in ("door", "gate", "hall")}
    yield {name: server.uri for name, server in servers.items()}
    for server in servers.values():
        server.kill()


@pytest.mark.rtsp
def test_the_transport_of_all_rtsp_cameras_changes(node: Node, rtsp_uris: dict[str, str]) -> None:
    """OpenCV's FFmpeg takes one for all of them."""

    def cameras(**transports: str) -> dict[str, Any]:
        rtsp = {name: {"uri": rtsp_uris[name], "transport": one} for name, one in transports.items()}
        return {"yard": YARD, **rtsp}

    node.start(cameras(door="tcp", gate="tcp"))
    pid = node.daemon.process.pid
    node.until_more("door")
    node.until_more("gate")
    before = udp_sockets(pid)
    words = node.reload(cameras(door="udp", gate="tcp"), 78)
    assert "nothing was changed: RTSP cameras use both tcp (gate) and udp (door)" in words
    node.until_more("gate")
    words = node.reload(cameras(door="udp", gate="udp"))
    assert words == "edge-app: camera door altered; camera gate altered"
    node.until_more("door")
    node.until_more("gate")
    assert udp_sockets(pid) >= before + 4, "RTP and RTCP of both"
    words = node.reload(cameras(hall="tcp"))
    assert words == "edge-app: camera hall added; camera door removed; camera gate removed"
    node.until_more("hall")
    until(lambda: udp_sockets(pid) == before, "over TCP again")
    unharmed(node, "yard")


def test_a_sink_that_is_mended_is_no_trouble_any_more(node: Node, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wrong, right = ({"type": "jsonl", "directory": str(tmp_path / name)} for name in ("file/a", "lines"))
    node.start({"yard": YARD}, sinks={"archive": wrong})
    until(lambda: node.recorder.states()[-1] == "degraded", "the node says so")
    assert "sink archive: " in node.recorder.on(f"{BASE}/status")[-1]["reason"]
    assert node.reload({"yard": YARD}, sinks={"archive": right}) == "edge-app: sink archive altered"
    until(lambda: node.recorder.states()[-1] == "online", "all is well again")


def test_a_password_that_changed_in_its_file_alone_is_noticed(node: Node, tmp_path: Path) -> None:
    secret = tmp_path / "door.password"
    secret.write_text("first-canary-1\n")
    secret.chmod(0o600)
    door = {
        "uri": f"rtsp://127.0.0.1:{free_port()}/a",
        "username": "viewer",
        "password_file": "door.password",
    }
    node.start({"yard": YARD, "door": door})
    assert node.reload({"yard": YARD, "door": door}) == "edge-app: nothing to change"
    secret.write_text("second-canary-2\n")
    assert node.reload({"yard": YARD, "door": door}) == "edge-app: camera door altered"
    node.until_more("yard")
    assert "canary" not in node.daemon.log


def threads_and_files(pid: int) -> tuple[int, int]:
    threads, files = (list(Path(f"/proc/{pid}/{what}").iterdir()) for what in ("task", "fd"))
    return len(threads), len(files)


@contextmanager
def scraping(watcher: Watcher) -> Iterator[list[tuple[int, str]]]:
    """Ask for /metrics all the time; what was answered."""
    answers: list[tuple[int, str]] = []
    enough = threading.Event()

    def ask() -> None:
        while not enough.wait(0.1):
            answers.append(watcher.get("/metrics"))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        yield answers
    finally:
        enough.set()
        asking.join()


def test_a_hundred_reloads_leave_nothing_behind(node: Node, tmp_path: Path) -> None:
    """Each alters a camera, adds and removes others, and changes thresholds, the broker and a sink.

    Meanwhile somebody asks for metrics all the time.
    """
    watcher = Watcher()
    lines = tmp_path / "lines"
    witness = {"type": "jsonl", "directory": str(lines)}

    def variant(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        even = number % 2 == 0
        cameras: dict[str, Any] = {"yard": YARD, "door": {"uri": DOOR, "max_fps": 5 if even else 3}}
        if even:
            cameras["gate"] = {"uri": GATE, "max_fps": 2}
        cameras[f"guest-{number // 20}"] = {"uri": GATE, "max_fps": 1}
        sinks: dict[str, Any] = {"witness": witness}
        if number % 3:
            archive = {"type": "jsonl", "directory": str(tmp_path), "queue_size": 100 if even else 101}
            sinks["archive"] = archive
        mqtt = {"keepalive_s": 20 if even else 21}
        postprocess = {"confidence_threshold": 0.3 if even else 0.4}
        return cameras, {
            "sinks": sinks,
            "mqtt": mqtt,
            "postprocess": postprocess,
            "metrics": {"enabled": True, **watcher.section},
        }

    cameras, sections = variant(1)
    node.start(cameras, **sections)
    node.until_more("yard")
    pid = node.daemon.process.pid

    def reloads() -> int:
        (reply,) = (tmp_path / "run").glob("*.json")
        return int(json.loads(reply.read_text())["reloads"])

    def reload_once(number: int) -> None:
        cameras, sections = variant(number)
        before = reloads()
        node.write(cameras, **sections)
        os.kill(pid, signal.SIGHUP)
        until(lambda: reloads() > before, "it was reloaded")

    def reload_a_few(numbers: range) -> None:
        with scraping(watcher) as answers:
            for number in numbers:
                reload_once(number)
            reload_once(1)
        assert answers
        assert all(status == 200 for status, _ in answers), answers

    reload_a_few(range(2, 7))
    node.until_more("yard")
    settled = threads_and_files(pid)
    reload_a_few(range(2, 102))
    # The log may have a thread that tells, after a minute, how often lines like these were left out.
    most = (settled[0] + 1, settled[1])
    until(lambda: all(map(le, threads_and_files(pid), most)), f"{most} threads and files again", 20)
    assert "Traceback" not in node.daemon.log
    node.until_more("yard")
    written = "".join(file.read_text() for file in sorted(lines.glob("*.jsonl")))
    messages = [json.loads(line) for line in written.splitlines()]
    unharmed(
        node,
        "yard",
        [message for message in messages if message.get("frame_id") and message["camera"] == "yard"],
    )
    assert node.daemon.stop() == 0


def test_a_film_that_has_ended_may_be_played_again_and_the_daemon_waits_for_no_other(
    node: Node, film: Path
) -> None:
    """Its model has no camera left when it ends, and gets one by a reload."""
    model: dict[str, Any] = {"models": {"films": {"path": "demo"}}}
    first, second = film.with_name("first.mp4"), film.with_name("second.mp4")
    for copy in (first, second):
        shutil.copy(film, copy)
    node.start({"yard": YARD, "film": {"uri": str(first), "model": "films"}}, **model)
    until(lambda: len(node.frames("film")) == FILM_FRAMES, "the film was played")
    until(lambda: node.recorder.states(f"{BASE}/camera/film/status")[-1:] == ["ended"], "the film has ended")
    words = node.reload({"yard": YARD, "film": {"uri": str(second), "model": "films"}}, **model)
    assert words == "edge-app: camera film altered"
    until(lambda: len(node.frames("film")) == 2 * FILM_FRAMES, "it is played again")
    ids = [frame["frame_id"] for frame in node.frames("film")]
    assert ids == list(range(2 * FILM_FRAMES))
    words = node.reload({"yard": {"uri": YARD, "model": "films"}}, **model)
    assert words == "edge-app: camera yard altered; camera film removed"
    until(lambda: node.frames("yard")[-1]["model"]["name"] == "demo", "it has a model")
    node.until_more("yard")
    assert node.recorder.on(f"{BASE}/info")[-1]["models"][0]["configured_name"] == "films"
    assert node.daemon.stop() == 0


def test_without_a_daemon_reload_says_so(tmp_path: Path) -> None:
    done = edge_app_says("reload", env={"RUNTIME_DIRECTORY": str(tmp_path)})
    assert done.returncode == 1
    assert "No daemon runs" in done.stderr


def test_of_several_daemons_one_must_be_named_and_one_that_stands_still_is_told(
    node: Node, tmp_path: Path
) -> None:
    node.start({"yard": YARD})
    other = write_config(tmp_path / "other.yaml", None, {"door": DOOR}, node={"name": "node-2"})
    second = Daemon(other)
    try:
        second.until_log_says("camera door: streaming")
        done = node.says()
        assert done.returncode == 1
        assert str(node.config) in done.stderr
        assert str(other) in done.stderr
        assert node.says("--config", str(other)).stdout.strip() == "edge-app: nothing to change"
        os.kill(second.process.pid, signal.SIGSTOP)
        done = node.says("--config", str(other), "--timeout", "0.5")
        assert done.returncode == 1
        assert "did not answer within 0.5 s" in done.stderr
        os.kill(second.process.pid, signal.SIGCONT)
    finally:
        second.kill()
    assert node.says("--config", str(other)).returncode == 1, "it has been killed"
    assert node.says().returncode == 0, "one is left"


def test_a_terminal_that_is_closed_ends_the_daemon(tmp_path: Path) -> None:
    """As every program in one: SIGHUP is a reload only while the terminal is there, or there is none."""
    pytest.importorskip("cv2")
    pytest.importorskip("onnxruntime")
    config = write_config(tmp_path / "edge.yaml", None, {"yard": YARD})
    pid, terminal = os.forkpty()
    if pid == 0:
        os.environ["RUNTIME_DIRECTORY"] = str(tmp_path / "run")
        os.execv(sys.executable, [sys.executable, "-m", "edge_app", "run", "--config", str(config)])
    read = bytearray()

    def says(words: bytes) -> Callable[[], bool]:
        def look() -> bool:
            read.extend(os.read(terminal, 65536))
            return words in read

        return look

    until(says(b"camera yard: streaming"), "it runs")
    os.kill(pid, signal.SIGHUP)
    until(says(b"reloaded: nothing to change"), "a signal alone is a reload")
    os.close(terminal)
    deadline_s = time.monotonic() + 10
    while (done := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline_s:
        time.sleep(0.05)
    if done[0] == 0:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert done[0] == pid, "it went on without its terminal"
