from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_app.capture import camera_watch
from edge_app.capture.cameras import CameraGroup
from edge_app.capture.factory import create_camera, create_source
from edge_app.capture.gstreamer import opencv_has_gstreamer
from edge_app.capture.transport import OPTIONS_VARIABLE
from edge_app.errors import CaptureError
from edge_app.messages import CameraState
from tests.capture.parts import RecordingObserver, RecordingSink, RtspServer, section, wait_until

pytestmark = pytest.mark.rtsp
CANARY = 'c4n4ry p@ss"\\/w:rd%!'
Start = Callable[..., RtspServer]


@pytest.fixture
def run(
    sink: RecordingSink, observer: RecordingObserver, groups: list[CameraGroup]
) -> Callable[[dict[str, str]], CameraGroup]:
    def start(uris: dict[str, str]) -> CameraGroup:
        cameras = [create_camera(camera_id, section(uri), None) for camera_id, uri in uris.items()]
        groups.append(CameraGroup(cameras, sink, observer))
        groups[-1].start()
        return groups[-1]

    return start


Run = Callable[[dict[str, str]], CameraGroup]


@pytest.mark.parametrize("options", [(), ("--audio",), ("--late-keyframe",), ("--codec", "h265")])
def test_a_camera_streams(rtsp_server: Start, options: tuple[str, ...]) -> None:
    server = rtsp_server(*options, "--width", "352", "--height", "288")
    source = create_source("gate", section(server.uri), None)
    assert source.live is True
    source.open()
    pictures = [source.read(2.0) for _ in range(10)]
    assert {found.array.shape for found in pictures if found} == {(288, 352, 3)}
    # The test pattern is a white ball on black: neither grey smears nor an empty picture.
    assert all(2 < found.array.mean() < 30 for found in pictures if found)
    source.close()


def test_a_camera_whose_power_fails_comes_back_by_itself(
    rtsp_server: Start, run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    server = rtsp_server()
    run({"gate": server.uri})
    sink.wait_frames("gate", 5)
    server.kill()
    assert observer.wait("gate", CameraState.LOST)[1].reason is not None
    rtsp_server("--width", "640", "--height", "480", port=server.port)
    sink.wait_frames("gate", 5)
    _, status = observer.wait("gate", CameraState.STREAMING, after=len(observer.seen) - 1)
    assert (status.width, status.height, status.reconnects) == (640, 480, 1)
    ids = [frame.frame_id for frame in sink.frames["gate"]]
    assert ids == list(range(len(ids)))


def test_a_frozen_camera_is_stalled_in_time_and_the_other_goes_on(
    rtsp_server: Start, run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    frozen, good = rtsp_server(), rtsp_server()
    run({"frozen": frozen.uri, "good": good.uri})
    sink.wait_frames("frozen", 10)
    sink.wait_frames("good", 10)
    frozen.freeze()
    frozen_at_s = time.monotonic()
    stalled_at_s, _ = observer.wait("frozen", CameraState.STALLED)
    # stall_s is 1.0; what was on its way when the server froze may still arrive.
    assert stalled_at_s - frozen_at_s < 2.0
    newest = sink.frames["frozen"][-1].captured_ns
    assert newest - frozen_at_s * 1e9 < 0.5e9, "stale frames came through"
    while_stalled = [f for f in sink.frames["good"] if f.captured_ns > frozen_at_s * 1e9]
    fps = len(while_stalled) / (stalled_at_s - frozen_at_s)
    assert fps > 12, f"the other camera fell to {fps:.1f} frames a second"
    assert observer.states("good") == [CameraState.CONNECTING, CameraState.STREAMING]
    frozen.thaw()
    sink.wait_frames("frozen", 5)


@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_a_password_with_every_kind_of_sign_is_accepted(rtsp_server: Start, auth: str) -> None:
    server = rtsp_server("--user", "ad min", "--auth", auth, password=CANARY)
    source = create_source("gate", section(server.uri, username="ad min"), CANARY)
    source.open()
    assert source.read(2.0) is not None
    source.close()


def test_a_wrong_password_is_said_and_appears_nowhere(
    rtsp_server: Start,
    sink: RecordingSink,
    observer: RecordingObserver,
    groups: list[CameraGroup],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = rtsp_server("--user", "admin", password="the right one")
    with caplog.at_level(logging.DEBUG):
        groups.append(
            CameraGroup(
                [create_camera("gate", section(server.uri, username="admin"), CANARY)], sink, observer
            )
        )
        groups[0].start()
        _, status = observer.wait("gate", CameraState.LOST)
        groups[0].stop(2.0)
    assert status.reason is not None
    assert status.reason.startswith(f"127.0.0.1:{server.port} refuses this user name and password; ")
    outputs = capfd.readouterr()
    for text in (caplog.text, outputs.out, outputs.err, repr(observer.seen)):
        assert "c4n4ry" not in text


def test_the_password_is_concealed_when_the_stream_breaks(
    rtsp_server: Start,
    sink: RecordingSink,
    observer: RecordingObserver,
    groups: list[CameraGroup],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = rtsp_server("--user", "admin", password=CANARY)
    with caplog.at_level(logging.DEBUG):
        groups.append(
            CameraGroup(
                [create_camera("gate", section(server.uri, username="admin"), CANARY)], sink, observer
            )
        )
        groups[0].start()
        sink.wait_frames("gate", 3)
        server.kill()
        observer.wait("gate", CameraState.LOST)
        groups[0].stop(2.0)
    outputs = capfd.readouterr()
    for text in (caplog.text, outputs.out, outputs.err, repr(observer.seen), repr(groups[0].statuses())):
        assert "c4n4ry" not in text


def test_a_camera_without_the_asked_path_is_named(rtsp_server: Start) -> None:
    server = rtsp_server()
    with pytest.raises(CaptureError, match="answers 404 Not Found"):
        create_source("gate", section(server.uri.replace("camera", "other")), None).open()


def test_a_refused_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(CaptureError, match=f"127.0.0.1:{port} refuses connections"):
        create_source("gate", section(f"rtsp://127.0.0.1:{port}/camera"), None).open()


def test_a_silent_host_is_given_up_in_time_and_delays_no_other_camera(
    run: Run, sink: RecordingSink, observer: RecordingObserver, groups: list[CameraGroup]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/camera"
        camera = create_camera("silent", section(uri, open_timeout_s=2.0), None)
        other = create_camera("other", section("scene://street?size=64x48"), None)
        begin_s = time.monotonic()
        groups.append(CameraGroup([camera, other], sink, observer))
        groups[0].start()
        sink.wait_frames("other", 5)
        assert observer.states("silent") == [CameraState.CONNECTING]
        lost_at_s, status = observer.wait("silent", CameraState.LOST)
        assert lost_at_s - begin_s < 2.0 + 2.5 + 1.0
        assert status.reason is not None


def test_one_camera_that_opens_slowly_holds_up_no_other_open(rtsp_server: Start) -> None:
    """OpenCV by itself opens one FFmpeg capture at a time."""
    server = rtsp_server()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = create_source(
            "slow", section(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x", open_timeout_s=8.0), None
        )

        def open_slowly() -> None:
            with pytest.raises(CaptureError):
                slow.open()

        thread = threading.Thread(target=open_slowly)
        thread.start()
        silent.settimeout(5)
        connection, _ = silent.accept()
        quick = create_source("quick", section(server.uri), None)
        quick.open()
        assert thread.is_alive()
        quick.close()
        connection.close()
        thread.join()


TRANSPORT_SCRIPT = """
import os, sys
from pathlib import Path
from edge_app.capture.factory import create_source
from edge_app.capture.transport import change_transport
from edge_app.config.models import CameraSection

uri, transport, other = sys.argv[1:]


def udp_sockets():
    mine = {os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    inodes = [line.split()[9] for line in Path("/proc/self/net/udp").read_text().splitlines()[1:]]
    return sum(f"socket:[{inode}]" in mine for inode in inodes)


source = create_source("gate", CameraSection(uri=uri, transport=transport), None)
source.open()
assert source.read(2.0) is not None
print(udp_sockets())
second = create_source("other", CameraSection(uri=uri, transport=other), None)
try:
    second.open()
except Exception as error:
    print(error)
source.close()
change_transport(other)
second.open()
assert second.read(2.0) is not None
print(udp_sockets())
second.close()
"""


@pytest.mark.skipif(opencv_has_gstreamer(), reason="GStreamer takes a transport for each camera")
@pytest.mark.parametrize(("transport", "over_udp"), [("tcp", False), ("udp", True)])
def test_the_transport_is_the_one_asked_for_and_one_for_all(
    rtsp_server: Start, transport: str, over_udp: bool
) -> None:
    other = "tcp" if over_udp else "udp"
    command = [sys.executable, "-c", TRANSPORT_SCRIPT, rtsp_server().uri, transport, other]
    environment = {name: value for name, value in os.environ.items() if name != OPTIONS_VARIABLE}
    found = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)
    udp_sockets, message, after = found.stdout.splitlines()
    assert (int(udp_sockets) > 0) is over_udp
    assert f"one RTSP transport for all cameras, and another one uses {transport}" in message
    assert (int(after) > 0) is not over_udp, "once the first one has gone"


def test_a_camera_that_shows_one_picture_for_ever_is_frozen_and_one_with_a_sensors_noise_is_not(
    rtsp_server: Start, sink: RecordingSink, observer: RecordingObserver, groups: list[CameraGroup]
) -> None:
    servers = {"still": rtsp_server("--still"), "noisy": rtsp_server("--still", "--noise")}
    cameras = [create_camera(name, section(server.uri, frozen_s=2), None) for name, server in servers.items()]
    groups.append(CameraGroup(cameras, sink, observer))
    groups[0].start()
    sink.wait_frames("noisy", 1)
    noisy_since_s = time.monotonic()
    told_s, _ = observer.wait("still", CameraState.FROZEN)
    first_s = next(at_s for at_s, status in observer.seen if status.state is CameraState.STREAMING)
    assert 1.9 < told_s - first_s < 4
    sink.wait_frames("still", 10)
    sink.wait_frames("noisy", 25)
    time.sleep(max(0.0, noisy_since_s + 4 - time.monotonic()))
    assert CameraState.FROZEN not in observer.states("noisy")


@pytest.fixture
def quick_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_watch, "REFUSED_MIN_S", 1.5)
    monkeypatch.setattr(camera_watch, "REFUSED_MAX_S", 3.0)


@pytest.mark.usefixtures("quick_refusals")
@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_a_camera_that_refuses_the_password_is_not_asked_so_often_that_it_locks_the_account(
    rtsp_server: Start,
    sink: RecordingSink,
    observer: RecordingObserver,
    groups: list[CameraGroup],
    tmp_path: Path,
    auth: str,
) -> None:
    count = tmp_path / "count"
    server = rtsp_server("--user", "viewer", "--auth", auth, "--count", str(count), password=CANARY)
    settings = section(server.uri, username="viewer")  # otherwise tried again every 0.2 to 0.5 s
    group = CameraGroup([create_camera("gate", settings, "wrong")], sink, observer)
    groups.append(group)
    group.start()
    why = f"127.0.0.1:{server.port} refuses this user name and password; it is tried again after"
    first_s, first = observer.wait("gate", CameraState.LOST)
    assert first.reason == f"{why} 1.5 s, for many cameras lock those who try often"
    second_s, second = observer.wait("gate", CameraState.LOST, after=2)
    assert second.reason is not None
    assert second.reason.startswith(f"{why} 3 s")
    assert second_s - first_s >= 1.5
    time.sleep(2.0)
    assert count.stat().st_size == 4, "two attempts, each with a question why it failed"
    assert len(observer.seen) == 3, "connecting, and lost twice"

    group.switch("gate", enabled=False)
    observer.wait("gate", CameraState.DISABLED)
    group.switch("gate", enabled=True)
    wait_until(lambda: count.stat().st_size == 6, 2.0)
    third = observer.wait("gate", CameraState.LOST, after=4)[1]
    assert third.reason == first.reason, "it begins anew"

    group.let_go("gate")
    group.add(create_camera("gate", settings, CANARY))  # a reload, with the right password
    sink.wait_frames("gate", 5)


@pytest.mark.usefixtures("quick_refusals")
@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_another_trouble_of_a_camera_with_a_password_is_not_taken_for_a_wrong_one(
    rtsp_server: Start, sink: RecordingSink, observer: RecordingObserver, groups: list[CameraGroup], auth: str
) -> None:
    server = rtsp_server("--user", "viewer", "--auth", auth, password=CANARY)
    settings = section(server.uri.replace("/camera", "/nothing"), username="viewer")
    groups.append(CameraGroup([create_camera("gate", settings, CANARY)], sink, observer))
    groups[-1].start()
    _, status = observer.wait("gate", CameraState.LOST)
    assert status.reason == f"127.0.0.1:{server.port} answers 404 Not Found"
