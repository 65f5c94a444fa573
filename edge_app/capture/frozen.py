"""Cameras that deliver the same picture for ever: a decoder or a firmware got stuck and does not say so.

The noise of a sensor makes every picture differ from the one before, if only by one step in one pixel. So
pixels are compared as they are, every eighth of every eighth row: an average would hide the noise. What an
encoder repeats of a scene without any motion, it repeats no longer than until its next keyframe.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_app.errors import BackendError
from edge_app.gpu.surface import download_rows
from edge_app.interfaces import Picture
from edge_app.messages import Lease, Surface

logger = logging.getLogger(__name__)

STEP_PX = 8
LOOKS = 8
"""So many looks at equal distances make up `frozen_s`."""
MOST_EVERY_S = 5.0
"""At least so often it is looked, in seconds."""


def fingerprint(rows: NDArray[np.uint8 | np.uint16]) -> int:
    """Return a number that is the same for the same pixels, of which every eighth in each row counts.

    Args:
        rows: (rows, width, 3) or (rows, width): every eighth row of a picture.
    """
    return zlib.crc32(rows[:, ::STEP_PX].tobytes())


class FrozenWatch:
    """Tells from fingerprints whether a camera is frozen.

    Args:
        frozen_s: With the same picture for so many seconds it is.
        changed: Called when that changes.
        clock: Seconds that only grow.

    Attributes:
        frozen: Whether it is now.
    """

    def __init__(
        self, frozen_s: float, changed: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._frozen_s, self._changed, self._clock = frozen_s, changed, clock
        self._every_s = min(frozen_s / LOOKS, MOST_EVERY_S)
        self._due_s = 0.0
        self._last: int | None = None
        self._since_s = 0.0
        self._looks = 0
        self.frozen = False

    @property
    def due(self) -> bool:
        """Whether to look at the next picture."""
        return self._clock() >= self._due_s

    def looks(self) -> None:
        """Say that a picture is being looked at."""
        self._due_s = self._clock() + self._every_s

    def saw(self, found: int) -> None:
        """Take the fingerprint of a picture into account."""
        now_s = self._clock()
        if found != self._last:
            self._last, self._since_s, self._looks = found, now_s, 0
        self._looks += 1
        # Two equal pictures far apart, of a camera that sends few, are not many equal ones.
        frozen = now_s - self._since_s >= self._frozen_s and self._looks > LOOKS // 2
        if frozen != self.frozen:
            self.frozen = frozen
            self._changed()


class SharedLease:
    """One of several holders of a lease, which is given back when the last of them gives its part back."""

    def __init__(self, lease: Lease, left: list[None], lock: threading.Lock) -> None:
        self._lease, self._left, self._lock = lease, left, lock
        self._held = True

    @classmethod
    def split(cls, lease: Lease) -> tuple[SharedLease, SharedLease]:
        """Return two holders of a lease."""
        left: list[None] = [None, None]
        lock = threading.Lock()
        return cls(lease, left, lock), cls(lease, left, lock)

    @property
    def pinned(self) -> bool:
        """Whether the memory is page-locked."""
        return self._lease.pinned

    def release(self) -> None:
        """Give this part back. Calling it again does nothing."""
        with self._lock:
            if not self._held:
                return
            self._held = False
            self._left.pop()
            last = not self._left
        if last:
            self._lease.release()


class SurfaceLooker:
    """Looks at pictures in a GPU's memory on a thread of its own, which begins with the first one.

    While one is looked at others are left out: a GPU that is busy, or hangs, holds up no camera.
    """

    def __init__(self) -> None:
        self._wish: tuple[Picture, Surface, Callable[[int], None]] | None = None
        self._came = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def look(self, picture: Picture, surface: Surface, saw: Callable[[int], None]) -> bool:
        """Have a picture looked at, and release it, unless this returns False; `saw` gets what is found."""
        with self._came:
            if self._wish is not None or self._stopping:
                return False
            self._wish = (picture, surface, saw)
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name="frozen-look", daemon=True)
                self._thread.start()
            self._came.notify()
        return True

    def stop(self) -> None:
        """Look no more; one that hangs is left behind."""
        with self._came:
            self._stopping = True
            self._came.notify()

    def _main(self) -> None:
        while True:
            with self._came:
                self._came.wait_for(lambda: self._wish is not None or self._stopping)
                if self._wish is None:
                    return
                picture, surface, saw = self._wish
            try:
                rows = download_rows(surface, picture.width_height, picture.pixel_format, STEP_PX)
                saw(fingerprint(rows))
            except BackendError as error:  # whoever needs the GPU will notice, and say so
                logger.debug("a picture could not be looked at: %s", error)
            except Exception:  # the thread serves all cameras, and its end would leave a picture unreturned
                logger.exception("a picture could not be looked at")
            finally:
                if picture.lease is not None:
                    picture.lease.release()
                with self._came:
                    self._wish = None


def look_at(picture: Picture, watch: FrozenWatch, looker: SurfaceLooker) -> Picture:
    """Take a picture's fingerprint, at once or soon; return the picture, which may have another lease now."""
    if not isinstance(picture.pixels, Surface):
        watch.looks()
        watch.saw(fingerprint(picture.pixels[::STEP_PX]))
        return picture
    if picture.lease is None:
        return picture
    ours, theirs = SharedLease.split(picture.lease)
    if not looker.look(replace(picture, lease=ours), picture.pixels, watch.saw):
        return picture
    watch.looks()
    return replace(picture, lease=theirs)
