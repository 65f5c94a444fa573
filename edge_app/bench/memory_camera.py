"""Cameras whose frames are decoded already: what remains is what comes after decoding."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_app.interfaces import Picture, PixelMemory

BUFFERS = 12
"""Of one camera: as many as capture's own pool keeps."""


class _Loan:
    """A lent buffer; a `Lease`."""

    __slots__ = ("_free", "_given_back", "pinned", "pixels")

    def __init__(
        self, pixels: NDArray[np.uint8], free: queue.SimpleQueue[NDArray[np.uint8]], *, pinned: bool
    ) -> None:
        self.pixels = pixels
        self.pinned = pinned
        self._free = free
        self._given_back = False

    def release(self) -> None:
        """Give the buffer back, once."""
        if not self._given_back:
            self._given_back = True
            self._free.put(self.pixels)


class KeptMemory:
    """A `PixelMemory` whose arrays are used again by the next run: page-locked memory takes long to be had.

    Args:
        memory: Where they come from.
    """

    def __init__(self, memory: PixelMemory) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._free: list[tuple[NDArray[np.uint8], bool]] = []
        self._lent: list[tuple[NDArray[np.uint8], bool]] = []

    def allocate(self, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], bool]:
        """Return an array of that shape, used or new, and whether it is page-locked."""
        with self._lock:
            while self._free:
                found = self._free.pop()
                if found[0].shape == shape:
                    self._lent.append(found)
                    return found
        found = self._memory.allocate(shape)
        with self._lock:
            self._lent.append(found)
        return found

    def take_back(self) -> None:
        """Take back everything lent; nobody uses it any more."""
        with self._lock:
            self._free, self._lent = self._free + self._lent, []


class MemorySource:
    """A `Source` of pictures that lie in memory as a decoder would leave them, handed over and taken back.

    Args:
        pictures: What it shows, in turns; all of one size.
        memory: Where its buffers come from.
        fps: Frames a second, as a live camera sends them; None: as fast as they are taken, none is dropped.
        phase_s: How much later than others it begins, in seconds.
    """

    decoder = "frames in memory"

    def __init__(
        self, pictures: Sequence[NDArray[np.uint8]], memory: PixelMemory, fps: float | None, phase_s: float
    ) -> None:
        self._pictures, self._memory, self._fps, self._phase_s = pictures, memory, fps, phase_s
        self._free: queue.SimpleQueue[NDArray[np.uint8]] = queue.SimpleQueue()
        self._pinned = False
        self._next_s = 0.0
        self.missed = 0
        """Frames that were due while no buffer was free."""

    @property
    def live(self) -> bool:
        """Whether frames come by the clock."""
        return self._fps is not None

    def open(self) -> None:
        """Fill the buffers."""
        for number in range(BUFFERS):
            picture = self._pictures[number % len(self._pictures)]
            pixels, self._pinned = self._memory.allocate(picture.shape)
            pixels[:] = picture
            self._free.put(pixels)
        self._next_s = time.monotonic() + self._phase_s

    def read(self, timeout_s: float) -> Picture | None:
        """Return the next picture; see `Source.read`."""
        if self._fps is not None:
            now_s = time.monotonic()
            if self._next_s > now_s + timeout_s:
                time.sleep(timeout_s)
                return None
            time.sleep(max(0.0, self._next_s - now_s))
            period_s = 1 / self._fps
            # A camera that was held up does not send faster afterwards: what it could not send is missed.
            late = max(0, int((now_s - self._next_s) / period_s))
            self.missed += late
            self._next_s += (1 + late) * period_s
        try:
            pixels = self._free.get(timeout=timeout_s) if self._fps is None else self._free.get_nowait()
        except queue.Empty:
            self.missed += self._fps is not None
            return None
        return Picture(
            pixels,
            captured_ns=time.monotonic_ns(),
            captured_at_ns=time.time_ns(),
            lease=_Loan(pixels, self._free, pinned=self._pinned),
        )

    def close(self) -> None:
        """Nothing to disconnect."""
