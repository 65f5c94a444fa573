"""OpenCV and GStreamer as a Jetson has them, well installed and badly."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.config.camera_uri import CameraKind
from edge_app.doctor.result import Status
from edge_app.doctor.video import ARGUS_SOCKET, check_csi, check_decoders, check_opencv
from tests.doctor.conftest import Root

OPENCV = "__version__ = '4.8.0'\ndef getBuildInformation():\n    return '  GStreamer:    {}'\n"
SOFTWARE = ["rtspsrc", "rtph264depay", "h264parse", "rtph265depay", "h265parse", "videoconvert", "appsink"]
HARDWARE = ["nvv4l2decoder", "nvvidconv", "nvarguscamerasrc"]
RTSP, CSI, V4L2 = CameraKind.RTSP, CameraKind.CSI, CameraKind.V4L2


def install_elements(root: Root, names: list[str]) -> None:
    lines = "\n".join(f"plugin:  {name}: a description" for name in names)
    root.command("gst-inspect-1.0", f"cat <<'END'\n{lines}\nEND")


@pytest.mark.parametrize(
    ("gstreamer", "kinds", "status"),
    [
        ("YES (1.20.3)", {RTSP}, Status.OK),
        ("NO", {RTSP}, Status.FAILED),
    ],
)
def test_a_jetson_needs_an_opencv_with_gstreamer(
    jetson: Root, gstreamer: str, kinds: set[CameraKind], status: Status
) -> None:
    jetson.module("cv2", OPENCV.format(gstreamer))
    assert check_opencv(jetson.machine, kinds).status is status


def test_elsewhere_only_some_cameras_need_it(root: Root) -> None:
    root.module("cv2", OPENCV.format("NO"))
    assert check_opencv(root.machine, {RTSP, V4L2}).status is Status.OK
    result = check_opencv(root.machine, {CameraKind.GSTREAMER})
    assert (result.status, "gst:// cameras need it" in result.found) == (Status.FAILED, True)


def test_an_opencv_of_another_numpy_is_explained(root: Root) -> None:
    root.module("cv2", "raise ImportError('numpy.core.multiarray failed to import')\n")
    assert "numpy<2" in (check_opencv(root.machine, set()).fix or "")


def test_missing_elements_name_their_packages(jetson: Root) -> None:
    install_elements(jetson, [*SOFTWARE, *HARDWARE])
    assert check_decoders(jetson.machine, {RTSP, CSI}).status is Status.OK
    install_elements(jetson, [*SOFTWARE, "nvvidconv"])
    result = check_decoders(jetson.machine, {RTSP})
    assert (result.status, result.found) == (Status.FAILED, "GStreamer lacks nvv4l2decoder")
    assert "apt install nvidia-l4t-gstreamer;" in (result.fix or "")
    install_elements(jetson, [*SOFTWARE[1:], *HARDWARE])
    assert "gstreamer1.0-plugins-good" in (check_decoders(jetson.machine, {RTSP}).fix or "")


def test_without_gst_inspect(root: Root, jetson: Root) -> None:
    assert check_decoders(jetson.machine, {RTSP}).status is Status.FAILED
    jetson.machine.path("/etc/nv_tegra_release").unlink()
    jetson.machine.path("/proc/device-tree/model").unlink()
    assert check_decoders(root.machine, {RTSP}).status is Status.SKIPPED


def test_the_service_must_see_the_socket_of_nvargus(jetson: Root) -> None:
    assert check_csi(jetson.machine, {RTSP}).status is Status.SKIPPED
    assert "nvargus-daemon does not run" in check_csi(jetson.machine, {CSI}).found
    jetson.write({ARGUS_SOCKET: ""})
    assert check_csi(jetson.machine, {CSI}).status is Status.OK
    jetson.write({"/usr/local/lib/systemd/system/edge-app.service": "[Service]\nPrivateTmp=yes\n"})
    assert "/tmp of its own" in check_csi(jetson.machine, {CSI}).found
    drop_in = Path(__file__).parents[2] / "systemd/drop-ins/csi.conf"
    jetson.write({"/usr/local/lib/systemd/system/edge-app.service.d/csi.conf": drop_in.read_text()})
    assert check_csi(jetson.machine, {CSI}).status is Status.OK
