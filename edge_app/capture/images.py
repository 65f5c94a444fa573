"""Pictures from a folder or a glob, in natural order, as if they were a video."""

from __future__ import annotations

import glob
import logging
import re
import time
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.capture.pacing import Pace
from edge_app.errors import CaptureError, EndOfStream
from edge_app.interfaces import Picture

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def leads_to_images(location: str) -> bool:
    """Whether a path is a folder, a picture or a glob, and not a video file."""
    path = Path(location)
    is_glob = glob.has_magic(location) and not path.exists()
    return is_glob or location.endswith("/") or path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES


class ImageSource:
    """A `Source` of the pictures of a folder, a glob or one file, of any sizes. EXIF rotation is applied.

    Pictures have no times of their own: `max_fps` is the pace at which they are shown, and none of them is
    left out. What cannot be read is skipped, counted and logged.

    Args:
        location: Folder, glob or file.
        max_fps: Pictures a second; None: as fast as they are taken.
        loop: Whether to start again at the end.
    """

    def __init__(self, location: str, *, max_fps: float | None = None, loop: bool = False) -> None:
        self._location = location
        self._max_fps = max_fps
        self._loop = loop
        self._pace = Pace()
        self._paths: list[Path] = []
        self._next = 0
        self._shown = 0
        self._unreadable = 0

    @property
    def live(self) -> bool:
        """False: every picture counts."""
        return False

    @property
    def decoder(self) -> str:
        """The way in, in words."""
        return "images"

    def open(self) -> None:
        """List the pictures. Raises CaptureError if there are none."""
        self._paths = picture_paths(self._location)
        if not self._paths:
            raise CaptureError(f"there are no pictures at {self._location}")
        self._next = self._shown = self._unreadable = 0
        self._pace.reset()

    def read(self, timeout_s: float) -> Picture | None:
        """Return the next picture that can be read; see `Source.read`."""
        now_s = time.monotonic()
        delay_s = self._pace.delay_s(self._shown / self._max_fps, now_s) if self._max_fps else 0.0
        time.sleep(min(delay_s, timeout_s))
        if delay_s > timeout_s:
            return None
        while True:
            if self._next == len(self._paths):
                self._at_end()
            path = self._paths[self._next]
            self._next += 1
            begin_ns = time.monotonic_ns()
            pixels = _read_picture(path)
            if pixels is None:
                self._unreadable += 1
                logger.warning("%s is no picture that can be read, and is skipped", path)
                continue
            self._shown += 1
            now_ns = time.monotonic_ns()
            return Picture(pixels, now_ns, time.time_ns(), capture_ms=(now_ns - begin_ns) / 1e6)

    def close(self) -> None:
        """Forget the pictures. Never raises; idempotent."""
        self._paths = []
        self._next = 0

    def _at_end(self) -> None:
        if self._unreadable:
            logger.warning("%d of %d pictures could not be read", self._unreadable, len(self._paths))
        if self._shown == 0:
            raise CaptureError(f"not one picture at {self._location} can be read")
        if not self._loop:
            raise EndOfStream
        self._next = self._unreadable = 0


def picture_paths(location: str) -> list[Path]:
    """Return the pictures of a folder, a glob or a single path, `9.jpg` before `10.jpg`."""
    path = Path(location)
    if path.is_dir():
        found = [entry for entry in path.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES]
    elif path.exists():
        found = [path]
    else:
        found = [Path(name) for name in glob.glob(location, recursive=True)]  # noqa: PTH207 - it may be absolute
    return sorted((entry for entry in found if entry.is_file()), key=_natural_order)


def _read_picture(path: Path) -> NDArray[np.uint8] | None:
    """Return three channels of 8 bits of whatever the file holds, or None.

    Python opens the file: of a name that is not UTF-8, OpenCV would die.
    """
    try:
        content = np.fromfile(path, np.uint8)
    except OSError:
        return None
    if not len(content):
        return None
    try:
        return cast("NDArray[np.uint8] | None", cv2.imdecode(content, cv2.IMREAD_COLOR))
    except cv2.error:  # such as a picture of more pixels than OpenCV makes
        return None


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Numbers by value, the rest by letter."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part.casefold())
        for part in re.split(r"(\d+)", str(path))
    ]
