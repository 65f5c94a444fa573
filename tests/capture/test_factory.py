from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_app.capture import factory
from edge_app.capture.factory import create_camera, create_source
from edge_app.capture.gstreamer import opencv_has_gstreamer
from edge_app.capture.pipelines import CSI_ELEMENTS, RTSP_ELEMENTS, V4L2_ELEMENTS
from edge_app.capture.v4l2 import v4l2_opening
from edge_app.config.camera_uri import parse_camera_uri
from edge_app.errors import CaptureError, ConfigError
from tests.capture.parts import section

JETSON = RTSP_ELEMENTS | V4L2_ELEMENTS | CSI_ELEMENTS | {"nvv4l2decoder"}


@pytest.fixture
def jetson(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with JetPack's elements; what they would do is not tried here."""
    monkeypatch.setattr(factory, "opencv_has_gstreamer", lambda: True)
    monkeypatch.setattr(factory, "available_elements", lambda: JETSON)


@pytest.mark.usefixtures("jetson")
@pytest.mark.parametrize(
    ("uri", "decoder"),
    [
        ("rtsp://10.0.0.7/main", "gstreamer nvv4l2decoder"),
        ("csi://0", "gstreamer nvarguscamerasrc"),
        ("v4l2:///dev/video0", "gstreamer v4l2src"),
        ("v4l2:///dev/video0?format=mjpeg", "gstreamer nvv4l2decoder"),
        ("http://10.0.0.7/stream", "ffmpeg"),
        ("/data/street.mp4", "ffmpeg"),
        ("scene://street", "rendered scene"),
    ],
)
def test_a_jetson_uses_its_hardware_where_it_can(uri: str, decoder: str) -> None:
    assert create_source("gate", section(uri), None).decoder == decoder


@pytest.mark.usefixtures("jetson")
def test_the_choice_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        create_camera("gate", section("rtsp://10.0.0.7/main"), None)
    assert "camera gate: read through gstreamer nvv4l2decoder" in caplog.text


def test_a_gstreamer_without_the_needed_elements_gives_way_to_ffmpeg(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(factory, "opencv_has_gstreamer", lambda: True)
    monkeypatch.setattr(factory, "available_elements", lambda: JETSON - {"rtspsrc"})
    with caplog.at_level("INFO"):
        source = create_source("gate", section("rtsp://10.0.0.7/main"), None)
    assert source.decoder == "ffmpeg"
    assert "GStreamer lacks rtspsrc" in caplog.text


@pytest.mark.skipif(opencv_has_gstreamer(), reason="this OpenCV has GStreamer")
@pytest.mark.parametrize("uri", ["csi://0", "gst://videotestsrc"])
def test_without_gstreamer_its_cameras_are_refused_with_a_hint(uri: str) -> None:
    with pytest.raises(CaptureError, match=r"need an OpenCV built with GStreamer.*python3-opencv"):
        create_source("gate", section(uri), None)


@pytest.mark.parametrize("uri", ["rtsp://", "warp://7", "rtsp://admin:c4n4ry@gate/1"])
def test_a_uri_that_cannot_be_used_is_a_configuration_error(uri: str) -> None:
    with pytest.raises(ConfigError) as raised:
        create_camera("gate", section(uri), None)
    assert "c4n4ry" not in str(raised.value)


def test_an_absent_device_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="there is no device /dev/video77"):
        create_source("usb", section("v4l2:///dev/video77"), None).open()


def test_usb_cameras_are_asked_for_a_format_before_a_size() -> None:
    opening = v4l2_opening(parse_camera_uri("v4l2:///dev/video0?size=1280x720&fps=30&format=mjpeg"))
    assert opening.parameters == (
        ("CAP_PROP_FOURCC", 0x47504A4D),
        ("CAP_PROP_FRAME_WIDTH", 1280),
        ("CAP_PROP_FRAME_HEIGHT", 720),
        ("CAP_PROP_FPS", 30),
    )


def test_silence_of_a_limited_camera_is_no_stall() -> None:
    camera = create_camera("gate", section("scene://street", max_fps=0.5, stall_s=1.0), None)
    assert camera.stall_s == 4.0


def test_the_longest_wait_is_never_shorter_than_the_first() -> None:
    camera = create_camera("gate", section("scene://street", reconnect_min_s=5.0, reconnect_max_s=1.0), None)
    assert (camera.reconnect_min_s, camera.reconnect_max_s) == (5.0, 5.0)


@pytest.mark.parametrize("cv2_first", [True, False])
def test_opencv_and_ffmpeg_keep_quiet_about_what_they_open(tmp_path: Path, cv2_first: bool) -> None:
    order = ["import cv2", "import edge_app.capture"]
    script = "; ".join(order if cv2_first else order[::-1])
    script += "; cv2.VideoCapture('http://admin:c4n4ry@127.0.0.1:9/x', cv2.CAP_FFMPEG)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_the_user_set_for_opencv_stays() -> None:
    script = "import os, edge_app.capture; print(os.environ['OPENCV_FFMPEG_LOGLEVEL'])"
    environment = {**os.environ, "OPENCV_FFMPEG_LOGLEVEL": "48"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, env=environment
    )
    assert done.stdout == "48\n"
