"""Pixel buffers that are used again: a fresh 6 MB array for each frame costs more than the copy into it."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from edge_app.interfaces import PixelMemory

Shape = tuple[int, ...]


class OrdinaryMemory:
    """Pixels in ordinary memory; a `PixelMemory`."""

    def allocate(self, shape: Shape) -> tuple[NDArray[np.uint8], bool]:
        """Return an array of that shape, which is not page-locked."""
        return np.empty(shape, np.uint8), False


class FrameBuffer:
    """A lent array; a `Lease`. `release` gives it back, once."""

    __slots__ = ("_pool", "lent", "pinned", "pixels")

    def __init__(self, pixels: NDArray[np.uint8], pool: FramePool, *, pinned: bool) -> None:
        self.pixels = pixels
        self.pinned = pinned
        self.lent = True
        self._pool = pool

    def release(self) -> None:
        """Give the array back; it must not be touched afterwards. Calling it again does nothing."""
        self._pool._take_back(self)


class FramePool:
    """Lends uint8 arrays and keeps the last few that came back, all of one shape. Never waits.

    Args:
        keep: Most arrays kept for later.
        memory: Makes arrays; page-locked memory comes in here.
    """

    def __init__(self, keep: int = 8, memory: PixelMemory | None = None) -> None:
        self._keep = keep
        self._memory = memory or OrdinaryMemory()
        self._lock = threading.Lock()
        self._free: list[tuple[NDArray[np.uint8], bool]] = []
        self._shape: Shape = ()

    def lend(self, shape: Shape) -> FrameBuffer:
        """Lend an array of `shape`, used or new; its contents are left over from before."""
        with self._lock:
            if shape != self._shape:
                self._shape = shape
                self._free.clear()
            found = self._free.pop() if self._free else None
        pixels, pinned = found or self._memory.allocate(shape)
        return FrameBuffer(pixels, self, pinned=pinned)

    @property
    def free(self) -> int:
        """How many arrays wait to be lent again."""
        with self._lock:
            return len(self._free)

    def _take_back(self, buffer: FrameBuffer) -> None:
        with self._lock:
            if buffer.lent and buffer.pixels.shape == self._shape and len(self._free) < self._keep:
                self._free.append((buffer.pixels, buffer.pinned))
            buffer.lent = False
