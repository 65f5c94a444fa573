"""GStreamer capture as on a Jetson: the system's OpenCV in an environment that sees the system's packages."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_app.capture.gstreamer import available_elements
from tests.capture.parts import SYSTEM_PYTHON, RtspServer

pytestmark = pytest.mark.gstreamer
REPOSITORY = Path(__file__).parents[2]
NEEDED = ("pydantic>=2.6,<3", "PyYAML>=6.0")
"""What the configuration needs; numpy comes with the system's OpenCV."""

CANARY = 'c4n4ry p@ss"\\/w:rd%!'
Start = Callable[..., RtspServer]
Read = Callable[..., dict[str, Any]]

SCRIPT = """
import json, sys, time
import cv2
from edge_app.capture.factory import create_source
from edge_app.config.models import CameraSection
from edge_app.errors import EdgeAppError
from edge_app.messages import CameraState

settings, password, seconds = json.loads(sys.stdin.readline())
nv12 = settings.pop("nv12", False)
found = {"shapes": [], "means": [], "error": None, "decoder": None}
try:
    source = create_source("gate", CameraSection(**settings), password, nv12=nv12)
    found["decoder"] = source.decoder
    source.open()
    end = time.monotonic() + seconds
    while time.monotonic() < end and len(found["means"]) < 10:
        picture = source.read(0.25)
        if picture is not None:
            found["shapes"].append(picture.pixels.shape)
            found["sizes"] = picture.width_height
            pixels = cv2.cvtColor(picture.pixels, cv2.COLOR_YUV2BGR_NV12) if nv12 else picture.pixels
            found["means"].append(float(pixels.mean()))
            if picture.lease is not None:
                picture.lease.release()
    source.close()
except EdgeAppError as error:
    found["error"] = str(error)
print(json.dumps(found))
"""

GROUP_SCRIPT = """
import json, os, signal, sys, threading, time
from edge_app.capture.cameras import CameraGroup
from edge_app.capture.factory import create_camera
from edge_app.config.models import CameraSection

uri, server = json.loads(sys.stdin.readline())

class Recorder:
    frames = 0
    states = []
    def put(self, frame): frame.release(); self.frames += 1
    def finish(self, camera_id): pass
    def camera_changed(self, status): self.states.append(status.state.value)

recorder = Recorder()
section = CameraSection(uri=uri, stall_s=1.0, reconnect_min_s=0.2, reconnect_max_s=0.5)
group = CameraGroup([create_camera("gate", section, None)], recorder, recorder)
group.start()

def wait(condition):
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end, recorder.states
        time.sleep(0.01)

wait(lambda: recorder.frames > 5)
os.kill(server, signal.SIGSTOP)
frozen = time.monotonic()
wait(lambda: "stalled" in recorder.states)
stalled = time.monotonic() - frozen
os.kill(server, signal.SIGCONT)
frames = recorder.frames
wait(lambda: recorder.frames > frames + 5)
group.stop(2.0)
print(json.dumps({"states": recorder.states, "stalled_s": stalled}))
"""


@pytest.fixture(scope="session")
def system_python(pytestconfig: pytest.Config) -> str:
    """A Python that sees the system's OpenCV; made once and kept in pytest's cache."""
    probe = "import cv2; assert 'GStreamer:                   YES' in cv2.getBuildInformation()"
    if subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, timeout=60).returncode != 0:
        pytest.skip("the system's Python has no OpenCV with GStreamer (python3-opencv)")
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("system-site-packages")
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists() or ready.read_text() != str(NEEDED):
        make = [SYSTEM_PYTHON, "-m", "venv", "--clear", "--system-site-packages", str(folder)]
        install = [str(python), "-m", "pip", "install", "--quiet", *NEEDED]
        for command in (make, install):
            done = subprocess.run(command, capture_output=True, text=True, timeout=110)
            if done.returncode != 0:
                pytest.skip(f"an environment with the system's OpenCV cannot be made: {done.stderr[-200:]}")
        ready.write_text(str(NEEDED))
    return str(python)


@pytest.fixture
def run_script(system_python: str) -> Callable[[str, object], subprocess.CompletedProcess[str]]:
    def run(script: str, given: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [system_python, "-c", script],
            input=json.dumps(given) + "\n",
            capture_output=True,
            text=True,
            timeout=60,
            cwd=REPOSITORY,
        )

    return run


@pytest.fixture
def read(run_script: Callable[[str, object], subprocess.CompletedProcess[str]]) -> Read:
    """Reads some pictures of a camera in the system's Python."""

    def run(uri: str, *, password: str | None = None, **settings: object) -> dict[str, Any]:
        done = run_script(SCRIPT, [{"uri": uri, "open_timeout_s": 5.0, **settings}, password, 10])
        assert done.returncode == 0, done.stderr
        assert "c4n4ry" not in done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


@pytest.mark.rtsp
@pytest.mark.parametrize(
    ("options", "transport"),
    [
        ((), "tcp"),
        ((), "udp"),
        (("--audio",), "tcp"),
        (("--late-keyframe",), "tcp"),
        (("--codec", "h265"), "tcp"),
    ],
)
def test_rtsp_goes_through_a_pipeline(
    read: Read, rtsp_server: Start, options: tuple[str, ...], transport: str
) -> None:
    found = read(rtsp_server(*options).uri, transport=transport)
    assert (found["error"], found["decoder"]) == (None, "gstreamer avdec")
    assert found["shapes"] == [[240, 320, 3]] * 10
    assert all(2 < mean < 30 for mean in found["means"]), "grey smears came through"


@pytest.mark.rtsp
def test_a_model_on_the_gpu_gets_nv12(read: Read, rtsp_server: Start) -> None:
    found = read(rtsp_server("--width", "322", "--height", "242").uri, nv12=True)
    assert (found["error"], found["decoder"]) == (None, "gstreamer avdec")
    assert found["shapes"] == [[363, 322]] * 10
    assert found["sizes"] == [322, 242]
    assert all(2 < mean < 30 for mean in found["means"])


@pytest.mark.rtsp
@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_a_password_with_every_kind_of_sign_is_accepted(read: Read, rtsp_server: Start, auth: str) -> None:
    server = rtsp_server("--user", "ad min", "--auth", auth, password=CANARY)
    found = read(server.uri, password=CANARY, username="ad min")
    assert (found["error"], len(found["shapes"])) == (None, 10)


@pytest.mark.rtsp
def test_a_wrong_password_is_said(read: Read, rtsp_server: Start) -> None:
    server = rtsp_server("--user", "admin", password="the right one")
    found = read(server.uri, password=CANARY, username="admin")
    assert found["error"] == f"127.0.0.1:{server.port} refuses this user name and password"


@pytest.mark.rtsp
def test_a_frozen_camera_is_stalled_and_comes_back(
    run_script: Callable[[str, object], subprocess.CompletedProcess[str]], rtsp_server: Start
) -> None:
    server = rtsp_server()
    done = run_script(GROUP_SCRIPT, [server.uri, server.process.pid])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["states"][:4] == ["connecting", "streaming", "stalled", "streaming"]
    assert found["stalled_s"] < 2.0


def test_a_pipeline_of_ones_own_streams(read: Read) -> None:
    found = read("gst://videotestsrc is-live=true pattern=white ! video/x-raw,width=321,height=241")
    assert (found["error"], found["shapes"]) == (None, [[241, 321, 3]] * 10)
    assert min(found["means"]) > 250


def test_grey_and_deep_video_become_bgr(read: Read) -> None:
    found = read(
        "gst://videotestsrc is-live=true pattern=white ! video/x-raw,format=GRAY16_LE,width=64,height=48"
    )
    assert (found["error"], found["shapes"]) == (None, [[48, 64, 3]] * 10)
    assert min(found["means"]) > 220


def test_a_pipeline_that_cannot_run_is_an_error(read: Read) -> None:
    assert "names nosuchelement" in read("gst://nosuchelement ! videoconvert")["error"]
    assert "cannot be started" in read("gst://videotestsrc ! video/x-raw,format=NV12 ! jpegdec")["error"]


def test_a_csi_camera_without_its_elements_is_an_error(read: Read) -> None:
    if "nvarguscamerasrc" in available_elements():
        pytest.skip("this machine has CSI cameras")
    assert "nvarguscamerasrc" in read("csi://0")["error"]


def test_files_still_go_through_ffmpeg(read: Read, tmp_path: Path) -> None:
    found = read(str(tmp_path / "absent.mp4"))
    assert found["decoder"] == "ffmpeg"
    assert "there is no file" in found["error"]
