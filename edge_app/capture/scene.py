"""The rendered street as a camera: the demo's, and every test's that needs to know what is in the picture."""

from __future__ import annotations

import math
import time

from edge_app.capture.pacing import RateLimit
from edge_app.config.camera_uri import CameraUri
from edge_app.errors import CaptureError, EndOfStream
from edge_app.interfaces import Picture
from edge_app.scene import StreetScene

DEFAULT_SIZE = (1280, 720)
DEFAULT_FPS = 30.0


class SceneSource:
    """A `Source` of rendered frames; frame `index` has the media time index / fps.

    A live scene goes on without us, as a street does: a late reader finds a later index. Otherwise every
    index is rendered, as fast as it is taken.

    Args:
        uri: A scene's URI.
        max_fps: Most frames a second of media time; None: all.
    """

    def __init__(self, uri: CameraUri, max_fps: float | None = None) -> None:
        self._uri = uri
        self._fps = uri.fps or DEFAULT_FPS
        self._limit = RateLimit(max_fps)
        self._scene: StreetScene | None = None
        self._begin_s = 0.0
        self._next = 0

    @property
    def live(self) -> bool:
        """Whether the scene goes on without us."""
        return self._uri.live

    @property
    def decoder(self) -> str:
        """The way in, in words."""
        return "rendered scene"

    def open(self) -> None:
        """Build the scene."""
        width, height = self._uri.size or DEFAULT_SIZE
        self._scene = StreetScene(seed=self._uri.seed, width=width, height=height, fps=self._fps)
        self._begin_s = time.monotonic()
        self._next = 0
        self._limit.reset()

    def read(self, timeout_s: float) -> Picture | None:
        """Return the next frame; see `Source.read`."""
        if self._scene is None:
            raise CaptureError("the scene is not open")
        deadline_s = time.monotonic() + timeout_s
        while True:
            index = self._await_index(deadline_s)
            if index is None:
                return None
            if self._uri.frames is not None and index >= self._uri.frames:
                raise EndOfStream
            self._next = index + 1
            if self._limit.take(index / self._fps):
                return self._render(self._scene, index)

    def close(self) -> None:
        """Forget the scene. Never raises; idempotent."""
        self._scene = None

    def _await_index(self, deadline_s: float) -> int | None:
        """Return the index of now, waiting for the next one if this one was had; None past the deadline."""
        if not self.live:
            return self._next
        due_s = self._begin_s + self._next / self._fps
        now_s = time.monotonic()
        if due_s > now_s:
            time.sleep(max(0.0, min(due_s, deadline_s) - now_s))
            now_s = time.monotonic()
            if due_s > now_s:
                return None
        return max(self._next, math.floor((now_s - self._begin_s) * self._fps))

    def _render(self, scene: StreetScene, index: int) -> Picture:
        begin_ns = time.monotonic_ns()
        pixels = scene.render(index)
        now_ns = time.monotonic_ns()
        return Picture(
            pixels,
            captured_ns=now_ns,
            captured_at_ns=time.time_ns(),
            capture_ms=(now_ns - begin_ns) / 1e6,
            media_time_s=index / self._fps,
        )
