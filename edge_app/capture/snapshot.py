"""Pictures of what a camera sees now, taken where its frames pass, and as JPEG."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_app.interfaces import FrameSink
from edge_app.messages import Frame, FrameInfo, PixelFormat

LOWER_QUALITIES = (70, 55, 40, 25)
"""Tried one after the other where a JPEG is too large."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A copy of a frame's pixels; nobody else's memory."""

    info: FrameInfo
    pixels: NDArray[np.uint8]
    pixel_format: PixelFormat


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
            self._wishes.setdefault(camera_id, []).append(wish)
        wish.came.wait(timeout_s)
        with self._lock:
            left = [other for other in self._wishes.pop(camera_id, []) if other is not wish]
            if left:
                self._wishes[camera_id] = left
        return wish.shot

    def _grant(self, frame: Frame) -> None:
        with self._lock:
            wishes = self._wishes.pop(frame.info.camera_id, [])
        if not wishes:
            return
        shot = Shot(frame.info, frame.pixels.copy(), frame.pixel_format)
        for wish in wishes:
            wish.shot = shot
            wish.came.set()


def encode_jpeg(shot: Shot, max_edge_px: int, quality: int, max_bytes: int) -> tuple[bytes, int, int] | None:
    """Return a shot as JPEG with its width and height; None if not even a poor one is small enough.

    Args:
        shot: The picture.
        max_edge_px: It is made smaller until no edge is longer.
        quality: 1 to 100; lower ones are tried where the file is too large.
        max_bytes: Most bytes of the file.
    """
    import cv2

    pixels: NDArray[np.uint8] = shot.pixels
    if shot.pixel_format is PixelFormat.NV12:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_YUV2BGR_NV12), np.uint8)
    height, width = pixels.shape[:2]
    scale = max_edge_px / max(width, height)
    if scale < 1:
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    for tried in (quality, *(lower for lower in LOWER_QUALITIES if lower < quality)):
        done, file = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, tried])
        if done and file.size <= max_bytes:
            return file.tobytes(), width, height
    return None
