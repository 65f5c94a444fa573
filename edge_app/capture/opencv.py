"""One camera or file, read through `cv2.VideoCapture`; what reads behind it differs only in the opening."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.capture.pacing import MediaTimes, Pace, RateLimit
from edge_app.capture.pool import FramePool, Shape
from edge_app.capture.transport import claim_transport
from edge_app.errors import CaptureError, EndOfStream
from edge_app.interfaces import Picture
from edge_app.messages import Lease, PixelFormat

logger = logging.getLogger(__name__)

_COMPLETE = 0.9
"""A container's count of frames is an estimate; a file that ends before this share of it is incomplete."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a `cv2.VideoCapture` is opened, and what it is.

    Attributes:
        target: Path, URL or pipeline; may hold credentials.
        api: Name of the backend's constant in cv2.
        parameters: Names of properties set at opening, and their values; left out where this OpenCV has none.
        decoder: The way in, in words.
        live: Whether time goes on without us.
        has_media_time: Whether the backend knows each frame's position.
        paced: Whether frames wait until their media time has come.
        loop: Whether a file starts again at its end.
        nv12: Whether the backend gives NV12 as it is, not BGR.
        transport: How RTSP travels, where that is one for all cameras; claimed when it is opened.
        explain: Says why it could not be opened.
    """

    target: str = field(repr=False)
    api: str
    parameters: tuple[tuple[str, float], ...]
    decoder: str
    live: bool
    has_media_time: bool = False
    paced: bool = False
    loop: bool = False
    nv12: bool = False
    transport: str | None = None
    explain: Callable[[], str] = lambda: "it could not be opened"


class VideoSource:
    """A `Source` that reads through OpenCV into borrowed buffers.

    Frames beyond `max_fps` are grabbed and never converted. Of live sources the limit goes by the clock,
    of files and playlists by the media time.

    Args:
        opening: What to open, and how.
        pool: Lends the buffers that frames are converted into.
        max_fps: Most frames a second; None: all.
    """

    def __init__(self, opening: Opening, pool: FramePool, max_fps: float | None = None) -> None:
        self._opening = opening
        self._pool = pool
        self._limit = RateLimit(max_fps)
        self._pace = Pace()
        self._media_times = MediaTimes(None)
        self._told_s: float | None = None
        self._capture: cv2.VideoCapture | None = None
        self._shape: Shape | None = None
        self._grabbed: _Grabbed | None = None
        self._frames = 0

    @property
    def live(self) -> bool:
        """Whether time goes on without us."""
        return self._opening.live

    @property
    def decoder(self) -> str:
        """The way in, in words."""
        return self._opening.decoder

    def open(self) -> None:
        """Connect.

        Raises:
            CaptureError: With a reason free of credentials.
            ConfigError: Another camera's RTSP transport is in use.
        """
        self.close()
        if self._opening.transport is not None:
            claim_transport(self._opening.transport)
        capture = cv2.VideoCapture()
        try:
            opened = capture.open(self._opening.target, getattr(cv2, self._opening.api), self._parameters())
        except cv2.error:
            opened = False
        if not opened:
            capture.release()
            raise CaptureError(self._opening.explain())
        if self._opening.api == "CAP_FFMPEG":
            # 4.11 forgot that it is the default; GStreamer takes offence.
            capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        self._capture = capture
        self._frames = 0
        self._limit.reset()
        self._pace.reset()
        self._media_times = MediaTimes(capture.get(cv2.CAP_PROP_FPS))
        self._told_s = None

    def read(self, timeout_s: float) -> Picture | None:
        """Return the next picture; see `Source.read`. A backend that waits for its camera waits longer."""
        deadline_s = time.monotonic() + timeout_s
        while self._grabbed is None:
            grabbed = self._grab()
            by_clock = self.live and not self._opening.paced
            if self._limit.take(grabbed.captured_ns / 1e9 if by_clock else grabbed.media_time_s):
                self._grabbed = grabbed
            elif time.monotonic() >= deadline_s:
                return None
        if not self._is_due(self._grabbed, deadline_s):
            return None
        grabbed, self._grabbed = self._grabbed, None
        if self._opening.paced:
            # It was there before its time; to everyone else it happens now.
            grabbed = replace(grabbed, captured_ns=time.monotonic_ns(), captured_at_ns=time.time_ns())
        return self._retrieve(grabbed)

    def close(self) -> None:
        """Disconnect. Never raises; idempotent."""
        capture, self._capture = self._capture, None
        self._grabbed = None
        if capture is not None:
            capture.release()

    def _parameters(self) -> list[int]:
        """The properties as cv2 takes them: key, value, key, value."""
        known = [(getattr(cv2, name, None), value) for name, value in self._opening.parameters]
        return [number for key, value in known if key is not None for number in (key, round(value))]

    def _grab(self) -> _Grabbed:
        """Demux and decode the next frame."""
        capture = self._capture
        if capture is None:
            raise CaptureError("the camera is not open")
        begin_ns = time.monotonic_ns()
        if not capture.grab():
            return self._at_end(capture)
        self._frames += 1
        media_time_s = self._media_time_s(capture) if self._opening.has_media_time else 0.0
        now_ns = time.monotonic_ns()
        return _Grabbed(now_ns, time.time_ns(), 0 if self.live else now_ns - begin_ns, media_time_s)

    def _media_time_s(self, capture: cv2.VideoCapture) -> float:
        told_s: float = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        # Of a stream without times OpenCV says the same of each picture.
        stands_still, self._told_s = told_s == self._told_s, told_s
        return self._media_times.fill(None if stands_still and not self.live else told_s)

    def _at_end(self, capture: cv2.VideoCapture) -> _Grabbed:
        if self.live:
            raise CaptureError("the connection was lost: the camera sends no more video")
        expected = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if self._frames < _COMPLETE * expected:
            logger.warning("the file ends after %d of %d frames: it is incomplete", self._frames, expected)
        if not self._opening.loop:
            raise EndOfStream
        if self._frames == 0:
            raise CaptureError("the file holds not one frame that can be decoded")
        self.open()
        return self._grab()

    def _is_due(self, grabbed: _Grabbed, deadline_s: float) -> bool:
        """Wait for the frame's turn, no longer than until `deadline_s`."""
        if not self._opening.paced:
            return True
        now_s = time.monotonic()
        delay_s = self._pace.delay_s(grabbed.media_time_s, now_s)
        time.sleep(max(0.0, min(delay_s, deadline_s - now_s)))
        return now_s + delay_s <= deadline_s

    def _retrieve(self, grabbed: _Grabbed) -> Picture:
        """Convert the grabbed frame to BGR, into a borrowed buffer where its size is known by now."""
        assert self._capture is not None  # noqa: S101 - it was grabbed from there
        begin_ns = time.monotonic_ns()
        buffer = None if self._shape is None else self._pool.lend(self._shape)
        lease: Lease | None = buffer
        try:
            retrieved, image = self._capture.retrieve(None if buffer is None else buffer.pixels)
        except cv2.error:
            retrieved, image = False, None
        if buffer is not None and image is not buffer.pixels:
            # Another size than before: OpenCV made an array of its own.
            buffer.release()
            lease = None
        if not retrieved or image is None:
            raise CaptureError("a frame arrived that cannot be decoded")
        pixels, size = to_nv12(image) if self._opening.nv12 else (to_bgr(image), None)
        self._shape = pixels.shape
        taken_ns = grabbed.decode_ns + time.monotonic_ns() - begin_ns
        return Picture(
            pixels,
            captured_ns=grabbed.captured_ns,
            captured_at_ns=grabbed.captured_at_ns,
            capture_ms=taken_ns / 1e6,
            media_time_s=grabbed.media_time_s if self._opening.has_media_time else None,
            lease=lease,
            pixel_format=PixelFormat.NV12 if self._opening.nv12 else PixelFormat.BGR,
            size=size,
        )


@dataclass(frozen=True, slots=True)
class _Grabbed:
    """A frame decoded, not yet converted."""

    captured_ns: int
    captured_at_ns: int
    decode_ns: int
    media_time_s: float


def to_nv12(image: NDArray[Any]) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return an NV12 image, (height * 3 / 2, width) uint8, and its (width, height) in pixels.

    Raises:
        CaptureError: If it is something else.
    """
    rows = image.shape[0]
    if image.dtype != np.uint8 or image.ndim != 2 or rows % 3 or image.shape[1] % 2:
        raise CaptureError(f"a frame has the shape {image.shape} of {image.dtype}, which is no NV12")
    return image, (image.shape[1], rows * 2 // 3)


def to_bgr(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return any image that OpenCV decodes as (height, width, 3) uint8 BGR.

    Takes (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), uint8 or uint16; returns the image itself where it is
    already what is wanted.

    Raises:
        CaptureError: If it is something else.
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise CaptureError(f"a frame has the shape {image.shape} of {image.dtype}, which is no picture")
    if channels == 3:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR))
