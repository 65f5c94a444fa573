"""The entrance of the street: one lane for each camera, and the only place where frames are dropped."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edge_app.errors import ChannelClosed
from edge_app.messages import DropReason, Frame

FILE_LANE_FRAMES = 2
"""A file's reader may be this far ahead: it decodes while the model runs, and no further."""

ACTIVE_S = 1.0
"""A live camera that sent nothing for so long is not waited for when a batch is gathered."""


SMOOTHING = 0.1
"""How much of a camera's period the newest interval makes."""


@dataclass(slots=True)
class _Lane:
    live: bool
    room: threading.Condition
    """Its file's reader waits here: woken by its own frames only, not by those of every other file."""
    frames: deque[Frame] = field(default_factory=deque)
    last_put: float = float("-inf")
    period_s: float = float("inf")
    """Smoothed time from frame to frame; infinite until two frames have come."""
    finished: bool = False

    def arrived(self, now_s: float) -> None:
        """Note that a frame came."""
        interval_s = now_s - self.last_put
        if interval_s > ACTIVE_S:
            self.period_s = float("inf")
        elif self.period_s == float("inf"):
            self.period_s = interval_s
        else:
            self.period_s += SMOOTHING * (interval_s - self.period_s)
        self.last_put = now_s


class FrameCounts(Protocol):
    """Who counts what comes in and what is dropped. Called from any thread; must return at once."""

    def captured(self, camera_id: str) -> None:
        """A frame of a camera came in."""

    def dropped(self, camera_id: str, reason: DropReason, count: int = 1) -> None:
        """`count` frames of a camera went no further."""


class FrameLanes:
    """Keeps the newest frame of each live camera, and every frame of a file.

    Many capture threads call `put` and `finish`; one feeder calls `take`.

    Args:
        live: For each camera whether it is live.
        max_age_s: Frames of live cameras older than this many seconds are dropped when their turn comes.
        counts: Counts what comes in and what is dropped.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        live: Mapping[str, bool],
        *,
        max_age_s: float,
        counts: FrameCounts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        lock = threading.Lock()
        self._arrived = threading.Condition(lock)
        self._lanes = {
            camera_id: _Lane(is_live, threading.Condition(lock)) for camera_id, is_live in live.items()
        }
        self._max_age_s = max_age_s
        self._counts = counts
        self._clock = clock
        self._closed = False
        self._ready = 0

    def put(self, frame: Frame) -> None:
        """Hand over a frame; see `FrameSink.put`."""
        camera_id = frame.info.camera_id
        self._counts.captured(camera_id)
        with self._arrived:
            lane = self._lanes[camera_id]
            if not lane.live:
                while len(lane.frames) >= FILE_LANE_FRAMES and not self._closed:
                    lane.room.wait()
            closed = self._closed
            superseded = lane.frames.popleft() if lane.live and lane.frames else None
            if not closed:
                self._ready += superseded is None and not lane.frames
                lane.frames.append(frame)
                lane.arrived(self._clock())
                self._arrived.notify()
        if closed:
            self._drop(frame, DropReason.SHUTDOWN)
            raise ChannelClosed
        if superseded is not None:
            self._drop(superseded, DropReason.SUPERSEDED)

    def finish(self, camera_id: str) -> None:
        """Say that this camera will send no more frames."""
        with self._arrived:
            self._lanes[camera_id].finished = True
            self._arrived.notify()

    def take(self, max_count: int, *, timeout_s: float, straggler_wait_s: float) -> list[Frame]:
        """Return the newest frames, at most one of each camera, the longest unserved camera first.

        Args:
            max_count: Most frames to return.
            timeout_s: Longest wait for the first frame, in seconds.
            straggler_wait_s: After that, longest wait for frames of other active cameras, in seconds. For
                live cameras no longer than they need to send what is missing, by their periods.

        Returns:
            1 to `max_count` frames, or none if no frame came in time.

        Raises:
            ChannelClosed: The lanes were closed, or every camera has finished and its frames are taken.
        """
        with self._arrived:
            self._arrived.wait_for(lambda: self._closed or self._ready > 0 or self._exhausted(), timeout_s)
            if 0 < self._ready < max_count:
                expected, gap_s = self._outlook()
                wanted = min(max_count, expected)
                missing_s = gap_s * (wanted - self._ready)
                self._arrived.wait_for(
                    lambda: self._closed or self._ready >= wanted, min(straggler_wait_s, missing_s)
                )
            if self._closed or self._exhausted():
                raise ChannelClosed
            taken, stale = self._pop(max_count)
        for frame in stale:
            self._drop(frame, DropReason.TOO_OLD)
        return taken

    def close(self) -> None:
        """Let nobody put or take any more, and drop what still waits."""
        with self._arrived:
            self._closed = True
            waiting = [frame for lane in self._lanes.values() for frame in lane.frames]
            for lane in self._lanes.values():
                lane.frames.clear()
                lane.room.notify_all()
            self._ready = 0
            self._arrived.notify_all()
        for frame in waiting:
            self._drop(frame, DropReason.SHUTDOWN)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _outlook(self) -> tuple[int, float]:
        """Count the cameras from which a frame is here or can be expected within a moment.

        Also return the mean time in seconds from a frame of one to a frame of another; infinite where a
        file, which sends as fast as it is taken, is among them.
        """
        horizon = self._clock() - ACTIVE_S
        expected, rate_hz, paced = 0, 0.0, True
        for lane in self._lanes.values():
            if lane.frames or (not lane.finished and lane.last_put > horizon):
                expected += 1
                rate_hz += 1 / lane.period_s if lane.period_s > 0 else float("inf")
                paced &= lane.live
        return expected, 1 / rate_hz if paced and rate_hz else float("inf")

    def _exhausted(self) -> bool:
        return self._ready == 0 and all(lane.finished and not lane.frames for lane in self._lanes.values())

    def _pop(self, max_count: int) -> tuple[list[Frame], list[Frame]]:
        oldest_ns = int((self._clock() - self._max_age_s) * 1e9)
        taken: list[Frame] = []
        stale: list[Frame] = []
        for camera_id, lane in list(self._lanes.items()):
            if len(taken) == max_count:
                break
            if not lane.frames:
                continue
            frame = lane.frames.popleft()
            self._ready -= not lane.frames
            lane.room.notify()
            if lane.live and frame.info.captured_ns < oldest_ns:
                stale.append(frame)
                continue
            taken.append(frame)
            # Served cameras go to the end, so that every camera gets its turn under overload.
            self._lanes[camera_id] = self._lanes.pop(camera_id)
        return taken, stale

    def _drop(self, frame: Frame, reason: DropReason) -> None:
        frame.release()
        self._counts.dropped(frame.info.camera_id, reason)
