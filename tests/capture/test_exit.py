"""The process ends although a reader hangs: neither Python's shutdown nor a library's waits for it."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

SCRIPT = """
import sys, threading
from edge_app.capture.cameras import CameraGroup
from edge_app.capture.factory import create_camera
from edge_app.config.models import CameraSection

class Nobody:
    def __init__(self): self.streaming = threading.Event()
    def put(self, frame): frame.release(); self.streaming.set()
    def finish(self, camera_id): pass
    def camera_changed(self, status): print(status.camera_id, status.state.value, flush=True)

nobody = Nobody()
section = CameraSection(uri=sys.argv[1], open_timeout_s=60.0)
other = CameraSection(uri="scene://street?size=64x48")
group = CameraGroup([create_camera("a", section, None), create_camera("b", other, None)], nobody, nobody)
group.start()
assert nobody.streaming.wait(20)
group.stop(0.2)
print("done", flush=True)
"""


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_the_interpreter_ends_while_an_open_hangs(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/camera"
        found = subprocess.run(
            [sys.executable, "-c", SCRIPT, uri], capture_output=True, text=True, timeout=30
        )
    assert (found.returncode, found.stdout.splitlines()[-1]) == (0, "done"), found.stderr
    assert "camera a: its reader hangs and is left behind" in found.stderr
