"""What the tests of capture share: recorders, videos made on the spot, and camera servers."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.config.models import CameraSection
from edge_app.errors import ChannelClosed, EndOfStream
from edge_app.interfaces import Picture, Source
from edge_app.messages import CameraState, CameraStatus, Frame, FrameInfo

SYSTEM_PYTHON = "/usr/bin/python3"
STEP = 8
"""Difference in brightness between one picture of a test video and the next; survives compression."""


def picture(index: int, size: tuple[int, int] = (320, 240)) -> NDArray[np.uint8]:
    """A picture whose brightness tells its index below 30; `size` is (width, height) in pixels."""
    return np.full((size[1], size[0], 3), (1 + index % 30) * STEP, np.uint8)


def index_of(pixels: NDArray[np.uint8]) -> int:
    return round(float(pixels.mean()) / STEP) - 1


def write_video(
    path: Path,
    fourcc: str,
    count: int,
    *,
    fps: float = 25,
    size: tuple[int, int] = (320, 240),
    color: bool = True,
) -> Path:
    """Write `count` pictures as a video."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), fps, size, color)
    assert writer.isOpened()
    for index in range(count):
        writer.write(picture(index, size) if color else picture(index, size)[..., 0])
    writer.release()
    return path


def section(uri: str | Path, **settings: Any) -> CameraSection:
    """A camera's section with short times."""
    times = {"stall_s": 1.0, "open_timeout_s": 5.0, "reconnect_min_s": 0.2, "reconnect_max_s": 0.5}
    return CameraSection(uri=str(uri), **{**times, **settings})


def read_all(source: Source, most: int = 1000) -> list[Picture]:
    """Open a finite source and read it to its end; keeps copies of the pixels and returns the leases."""
    source.open()
    pictures: list[Picture] = []
    try:
        while len(pictures) < most:
            found = source.read(5.0)
            if found is not None:
                kept = Picture(
                    found.array.copy(),
                    found.captured_ns,
                    found.captured_at_ns,
                    found.capture_ms,
                    found.media_time_s,
                )
                pictures.append(kept)
                if found.lease is not None:
                    found.lease.release()
    except EndOfStream:
        pass
    finally:
        source.close()
    return pictures


class RecordingSink:
    """A FrameSink that keeps what it is told of, and gives every frame back at once."""

    def __init__(self) -> None:
        self.frames: dict[str, list[FrameInfo]] = {}
        self.finished: set[str] = set()
        self.closed = False
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> None:
        frame.release()
        with self._changed:
            if self.closed:
                raise ChannelClosed
            self.frames.setdefault(frame.info.camera_id, []).append(frame.info)
            self._changed.notify_all()

    def finish(self, camera_id: str) -> None:
        with self._changed:
            self.finished.add(camera_id)
            self._changed.notify_all()

    def count(self, camera_id: str) -> int:
        return len(self.frames.get(camera_id, []))

    def wait_frames(self, camera_id: str, more: int, timeout_s: float = 15.0) -> None:
        """Wait for `more` frames than there are now."""
        with self._changed:
            wanted = self.count(camera_id) + more
            assert self._changed.wait_for(lambda: self.count(camera_id) >= wanted, timeout_s), (
                f"{self.count(camera_id)} of {wanted} frames of {camera_id} within {timeout_s} s"
            )

    def wait_finished(self, camera_id: str, timeout_s: float = 15.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: camera_id in self.finished, timeout_s)


class RecordingObserver:
    """A CameraObserver that keeps every status, with the monotonic second at which it came."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, CameraStatus]] = []
        self._changed = threading.Condition()

    def camera_changed(self, status: CameraStatus) -> None:
        with self._changed:
            self.seen.append((time.monotonic(), status))
            self._changed.notify_all()

    def states(self, camera_id: str) -> list[CameraState]:
        return [status.state for _, status in self.seen if status.camera_id == camera_id]

    def wait(
        self, camera_id: str, state: CameraState, *, after: int = 0, timeout_s: float = 15.0
    ) -> tuple[float, CameraStatus]:
        """Return the first status of that state among those from the `after`-th on."""

        def found() -> tuple[float, CameraStatus] | None:
            matches = (s for s in self.seen[after:] if s[1].camera_id == camera_id and s[1].state is state)
            return next(matches, None)

        with self._changed:
            status = self._changed.wait_for(found, timeout_s)
        assert status is not None, (
            f"{camera_id} was {self.states(camera_id)}, never {state} within {timeout_s} s"
        )
        return status


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s"
        time.sleep(0.01)


class RtspServer:
    """An RTSP camera in a process of its own; see tests/rtsp_server.py."""

    def __init__(self, *options: str, password: str | None = None, port: int = 0) -> None:
        script = Path(__file__).parents[1] / "rtsp_server.py"
        self.process = subprocess.Popen(
            [SYSTEM_PYTHON, str(script), "--port", str(port), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if password is not None:
            self.process.stdin.write(f"{password}\n")
            self.process.stdin.flush()
        self.port = int(self.process.stdout.readline())
        self.uri = f"rtsp://127.0.0.1:{self.port}/camera"

    def freeze(self) -> None:
        """Hang, as a camera does whose firmware got stuck: connections stay open, nothing comes."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End at once, as when the power fails."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@lru_cache(maxsize=1)
def rtsp_server_lacks() -> str | None:
    """Say what the RTSP server lacks on this machine; None: nothing."""
    check = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); "
        "from gi.repository import Gst, GstRtspServer; Gst.init(None); "
        "lacking = [e for e in ('x264enc', 'rtph264pay', 'alawenc') "
        "if Gst.ElementFactory.find(e) is None]; raise SystemExit(', '.join(lacking) or 0)"
    )
    if not Path(SYSTEM_PYTHON).exists():
        return f"there is no {SYSTEM_PYTHON}"
    found = _run([SYSTEM_PYTHON, "-c", check])
    return None if found.returncode == 0 else f"gst-rtsp-server: {(found.stderr.splitlines() or ['?'])[-1]}"


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60)
