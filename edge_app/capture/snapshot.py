"""Pictures of what a camera sees now, taken where its frames pass."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_app.errors import BackendError
from edge_app.gpu.surface import download
from edge_app.interfaces import FrameSink
from edge_app.messages import Frame, FrameInfo, PixelFormat, Surface, YuvColors

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A copy of a frame's pixels in host memory that is nobody else's.

    `pixels` is (height, width, 3) uint8 BGR, or (height * 3 / 2, width) uint8 NV12.
    """

    info: FrameInfo
    pixels: NDArray[np.uint8]
    pixel_format: PixelFormat
    colors: YuvColors


class _Wish:
    """Somebody who waits for the next frame of a camera."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.shot: Shot | None = None


class SnapshotTap:
    """Passes frames on, and copies the next one of a camera for whoever asks.

    A frame that nobody asked for costs nothing; one that is asked for, a copy on the capture thread. What
    happens to the frame behind the tap, and how soon its memory is given back, does not change.

    Args:
        sink: Where frames go.
    """

    def __init__(self, sink: FrameSink) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        self._wishes: dict[str, list[_Wish]] = {}
        self._closed = False

    def put(self, frame: Frame) -> None:
        """Hand a frame over; see `FrameSink.put`."""
        if self._wishes:
            self._grant(frame)
        self._sink.put(frame)

    def finish(self, camera_id: str) -> None:
        """Say that this camera will send no more frames."""
        self._sink.finish(camera_id)

    def take(self, camera_id: str, timeout_s: float) -> Shot | None:
        """Wait for the next frame of a camera and return a copy, or None if none came in time."""
        wish = _Wish()
        with self._lock:
            if self._closed:
                return None
            self._wishes.setdefault(camera_id, []).append(wish)
        wish.came.wait(timeout_s)
        with self._lock:
            left = [other for other in self._wishes.pop(camera_id, []) if other is not wish]
            if left:
                self._wishes[camera_id] = left
        return wish.shot

    def close(self) -> None:
        """No frame comes any more: whoever waits for one gets none, and so does whoever asks. Idempotent."""
        with self._lock:
            self._closed = True
            wishes = [wish for waiting in self._wishes.values() for wish in waiting]
            self._wishes.clear()
        for wish in wishes:
            wish.came.set()

    def _grant(self, frame: Frame) -> None:
        with self._lock:
            wishes = self._wishes.pop(frame.info.camera_id, [])
        if not wishes:
            return
        try:
            shot = _copy(frame)
        except BackendError:  # the frame itself goes on: whoever needs the GPU will notice
            logger.exception("camera %s: no snapshot", frame.info.camera_id)
            shot = None
        for wish in wishes:
            wish.shot = shot
            wish.came.set()


def _copy(frame: Frame) -> Shot:
    """Copy a frame that is still ours. Raises BackendError if it cannot be copied from the GPU."""
    pixels, size = frame.pixels, (frame.info.width, frame.info.height)
    if isinstance(pixels, Surface):
        copied = download(pixels, size, frame.pixel_format)
        return Shot(frame.info, copied, PixelFormat.NV12, frame.colors)
    return Shot(frame.info, pixels.copy(), frame.pixel_format, frame.colors)
