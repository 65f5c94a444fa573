from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_app.capture.cameras import CameraGroup
from edge_app.capture.factory import create_camera, create_source
from edge_app.capture.ffmpeg import follows_size_changes
from edge_app.errors import AccessRefusedError, CaptureError
from edge_app.messages import CameraState
from tests.capture.mjpeg_server import MjpegServer
from tests.capture.parts import RecordingObserver, RecordingSink, index_of, section

CANARY = "c4n4ry p@ss/w:rd%"


@pytest.fixture
def serve() -> Iterator[Callable[..., MjpegServer]]:
    """Starts HTTP cameras; they are closed at the end."""
    servers: list[MjpegServer] = []

    def start(**options: object) -> MjpegServer:
        servers.append(MjpegServer(**options))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        server.close()


Serve = Callable[..., MjpegServer]


def test_motion_jpeg_streams(serve: Serve) -> None:
    source = create_source("door", section(serve().uri), None)
    assert source.live is True
    source.open()
    pictures = [source.read(2.0) for _ in range(10)]
    indices = [index_of(found.array) for found in pictures if found]
    assert indices == list(range(indices[0], indices[0] + 10))
    source.close()


def test_a_camera_that_freezes_is_stalled_and_comes_back(
    serve: Serve, sink: RecordingSink, observer: RecordingObserver, groups: list[CameraGroup]
) -> None:
    server = serve()
    groups.append(CameraGroup([create_camera("door", section(server.uri), None)], sink, observer))
    groups[0].start()
    sink.wait_frames("door", 5)
    server.frozen.set()
    observer.wait("door", CameraState.STALLED)
    server.frozen.clear()
    sink.wait_frames("door", 5)
    assert observer.states("door")[:3] == [
        CameraState.CONNECTING,
        CameraState.STREAMING,
        CameraState.STALLED,
    ]


@pytest.mark.skipif(not follows_size_changes(), reason="OpenCV before 4.14 repeats the last picture instead")
def test_a_camera_may_change_its_size_midway(serve: Serve) -> None:
    server = serve()
    source = create_source("door", section(server.uri), None)
    source.open()
    for _ in range(3):
        source.read(2.0)
    server.size = (640, 480)
    indices = [index_of(found.array) for found in (source.read(2.0) for _ in range(15)) if found]
    assert len(set(indices)) == 15
    source.close()


def test_max_fps_skips_frames_without_converting_them(serve: Serve) -> None:
    source = create_source("door", section(serve().uri, max_fps=5.0), None)
    source.open()
    begin_s = time.monotonic()
    taken = 0
    while taken < 4:
        taken += source.read(0.25) is not None
    assert time.monotonic() - begin_s >= 3 / 5 - 0.05
    source.close()


def test_basic_authentication(serve: Serve) -> None:
    server = serve(username="ad min", password=CANARY)
    source = create_source("door", section(server.uri, username="ad min"), CANARY)
    source.open()
    assert source.read(2.0) is not None
    source.close()


def test_what_else_is_wrong_is_told_although_it_asks_for_a_password(serve: Serve) -> None:
    server = serve(username="ad min", password=CANARY)
    uri = server.uri.replace("/stream", "/nothing")
    with pytest.raises(CaptureError, match="answers 404") as raised:
        create_source("door", section(uri, username="ad min"), CANARY).open()
    assert not isinstance(raised.value, AccessRefusedError)


@pytest.mark.parametrize(
    ("username", "password", "reason"),
    [("ad min", "c4n4ry wrong", "refuses this user name and password"), (None, None, "asks for a user name")],
)
def test_a_refused_password_is_said_and_not_shown(
    serve: Serve, username: str, password: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    server = serve(username="ad min", password=CANARY)
    with pytest.raises(AccessRefusedError, match=reason) as raised:
        create_source("door", section(server.uri, username=username), password).open()
    assert "c4n4ry" not in str(raised.value) + repr(raised.value) + capfd.readouterr().err


def test_a_missing_page_is_named(serve: Serve) -> None:
    with pytest.raises(CaptureError, match="answers 404 Not Found"):
        create_source("door", section(serve().uri.replace("stream", "nothing")), None).open()


def test_what_is_no_video_is_named(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>It works!</html>")
    with pytest.raises(CaptureError, match="sends no video that can be decoded"):
        create_source("door", section(serve(root=tmp_path).uri.replace("stream", "page.html")), None).open()


def test_a_host_that_is_not_known_is_named() -> None:
    with pytest.raises(CaptureError, match=r"the host door\.invalid is not known"):
        create_source("door", section("http://door.invalid/stream"), None).open()


def test_hls_keeps_its_pace_instead_of_coming_in_bursts(serve: Serve, tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("there is no ffmpeg to make HLS segments with")
    make_segments(tmp_path)
    source = create_source("door", section(serve(root=tmp_path).uri.replace("stream", "live.m3u8")), None)
    source.open()
    begin_s = time.monotonic()
    taken = 0
    while taken < 20:
        taken += source.read(0.25) is not None
    assert time.monotonic() - begin_s >= 19 / 25 - 0.1
    source.close()


def make_segments(folder: Path) -> None:
    """Two seconds of video at 25 frames a second, in segments of half a second."""
    source = ["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=2"]
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "12"]
    hls = ["-f", "hls", "-hls_time", "0.5", "-hls_list_size", "0", str(folder / "live.m3u8")]
    subprocess.run(["ffmpeg", "-v", "error", *source, *codec, *hls], check=True, timeout=30)
