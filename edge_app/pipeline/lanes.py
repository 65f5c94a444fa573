"""The entrance of the street: one lane for each camera, and the only place where frames are dropped."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Protocol

from edge_app.errors import ChannelClosed
from edge_app.messages import DropReason, Frame, FrameInfo

FILE_LANE_FRAMES = 2
"""A file's reader may be this far ahead: it decodes while the model runs, and no further."""

ACTIVE_S = 1.0
"""A live camera that sent nothing for so long is not waited for when a batch is gathered."""


SMOOTHING = 0.1
"""How much of a camera's period the newest interval makes."""


@dataclass(slots=True, eq=False)
class _Lane:
    live: bool
    room: threading.Condition
    """Its file's reader waits here: woken by its own frames only, not by those of every other file."""
    served: int
    """Its last turn; no two lanes have the same."""
    frames: deque[Frame] = field(default_factory=deque)
    last_put: float = float("-inf")
    period_s: float = float("inf")
    """Smoothed time from frame to frame; infinite until two frames have come."""
    finished: bool = False
    first_frame_id: int = 0
    """Earlier frames are of the camera before it was altered."""

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


OUTLOOK_S = 0.05
"""How long an outlook holds: it changes with cameras that come and go, and looks at every lane."""


class _Outlook:
    """How many frames can be expected soon, and how soon."""

    def __init__(self) -> None:
        self._until_s = float("-inf")
        self._found = (0, float("inf"))

    def of(self, lanes: Collection[_Lane], now_s: float) -> tuple[int, float]:
        """Count the cameras from which a frame is here or can be expected within a moment.

        Also return the mean time in seconds from a frame of one to a frame of another; infinite where a
        file, which sends as fast as it is taken, is among them.
        """
        if now_s >= self._until_s:
            self._until_s = now_s + OUTLOOK_S
            self._found = self._look(lanes, now_s - ACTIVE_S)
        return self._found

    @staticmethod
    def _look(lanes: Collection[_Lane], horizon_s: float) -> tuple[int, float]:
        expected, rate_hz, paced = 0, 0.0, True
        for lane in lanes:
            if lane.frames or (not lane.finished and lane.last_put > horizon_s):
                expected += 1
                rate_hz += 1 / lane.period_s if lane.period_s > 0 else float("inf")
                paced &= lane.live
        return expected, 1 / rate_hz if paced and rate_hz else float("inf")


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
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._lanes: dict[str, _Lane] = {}
        self._turn = 0
        for camera_id, is_live in live.items():
            self._lanes[camera_id] = self._new_lane(live=is_live)
        self._ready: list[tuple[int, _Lane]] = []
        """A heap of the lanes with frames, by when they were last served: every camera gets its turn."""
        self._wanted = 0
        """So many ready lanes the feeder waits for; it is not woken before."""
        self._unfinished = len(self._lanes)
        self._ended = False
        """Whether the feeder was told that there is no more."""
        self._max_age_s = max_age_s
        self._counts = counts
        self._clock = clock
        self._closed = False
        self._outlook = _Outlook()

    def put(self, frame: Frame) -> None:
        """Hand over a frame; see `FrameSink.put`."""
        camera_id = frame.info.camera_id
        self._counts.captured(camera_id)
        superseded = None
        with self._arrived:
            lane = self._lane_of(frame.info)
            while lane is not None and not lane.live and len(lane.frames) >= FILE_LANE_FRAMES:
                lane.room.wait()
                lane = self._lane_of(frame.info)
            if lane is not None:
                if not lane.frames:
                    heappush(self._ready, (lane.served, lane))
                elif lane.live:
                    superseded = lane.frames.popleft()
                lane.frames.append(frame)
                lane.arrived(self._clock())
                if 0 < self._wanted <= len(self._ready):
                    self._wanted = 0
                    self._arrived.notify()
        if lane is None:
            self._drop(frame, DropReason.SHUTDOWN)
            raise ChannelClosed
        if superseded is not None:
            self._drop(superseded, DropReason.SUPERSEDED)

    def finish(self, camera_id: str) -> None:
        """Say that this camera will send no more frames."""
        with self._arrived:
            lane = self._lanes.get(camera_id)
            if lane is not None:
                self._unfinished -= not lane.finished
                lane.finished = True
            self._arrived.notify()

    def add(self, camera_id: str, *, live: bool, first_frame_id: int = 0) -> None:
        """Take frames of one more camera, or of one that was altered, whose waiting frames are dropped.

        Args:
            camera_id: The camera.
            live: Whether it is live.
            first_frame_id: Frames before this one are not taken.
        """
        with self._arrived:
            waiting = self._take_out(camera_id)
            self._lanes[camera_id] = lane = self._new_lane(live=live)
            lane.first_frame_id = first_frame_id
            self._unfinished += 1
        for frame in waiting:
            self._drop(frame, DropReason.SHUTDOWN)

    def remove(self, camera_id: str) -> None:
        """Take no more frames of a camera, and drop those that wait."""
        with self._arrived:
            waiting = self._take_out(camera_id)
            self._arrived.notify()
        for frame in waiting:
            self._drop(frame, DropReason.SHUTDOWN)

    def reopen(self) -> bool:
        """Return whether the feeder, which ended when all cameras had finished, must begin again."""
        with self._arrived:
            needed = self._must_reopen()
            self._ended &= not needed
            return needed

    @property
    def must_reopen(self) -> bool:
        """Whether the feeder has ended, and a camera has come since."""
        with self._arrived:
            return self._must_reopen()

    def _must_reopen(self) -> bool:
        return self._ended and not self._closed and not self._exhausted()

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
            self._wait_for(1, timeout_s)
            if 0 < len(self._ready) < max_count:
                expected, gap_s = self._outlook.of(self._lanes.values(), self._clock())
                wanted = min(max_count, expected)
                self._wait_for(wanted, min(straggler_wait_s, gap_s * max(0, wanted - len(self._ready))))
            if self._closed or self._exhausted():
                self._ended = True
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
            self._ready.clear()
            self._arrived.notify_all()
        for frame in waiting:
            self._drop(frame, DropReason.SHUTDOWN)

    @property
    def ready(self) -> int:
        """How many cameras have a frame here."""
        return len(self._ready)

    @property
    def taken(self) -> int:
        """A number that grows with every frame that is taken out."""
        return self._turn

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def waiting(self) -> dict[str, int]:
        """Return how many frames of each camera wait now."""
        with self._arrived:
            return {camera_id: len(lane.frames) for camera_id, lane in self._lanes.items()}

    def _new_lane(self, *, live: bool) -> _Lane:
        self._turn += 1
        return _Lane(live, threading.Condition(self._lock), self._turn)

    def _lane_of(self, info: FrameInfo) -> _Lane | None:
        """Return the lane that a frame goes into; None if nobody takes it. The lock is held."""
        lane = None if self._closed else self._lanes.get(info.camera_id)
        return None if lane is None or info.frame_id < lane.first_frame_id else lane

    def _take_out(self, camera_id: str) -> list[Frame]:
        """Take a camera's lane away and return what waited in it. The lock is held."""
        lane = self._lanes.pop(camera_id, None)
        if lane is None:
            return []
        self._unfinished -= not lane.finished
        self._ready = [entry for entry in self._ready if entry[1] is not lane]
        heapify(self._ready)
        lane.room.notify_all()
        return list(lane.frames)

    def _wait_for(self, ready: int, timeout_s: float) -> None:
        """Wait until so many lanes are ready, or there is nothing to wait for. The lock is held."""
        deadline_s = time.monotonic() + timeout_s
        while not (self._closed or len(self._ready) >= ready or self._exhausted()):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                break
            self._wanted = ready
            self._arrived.wait(left_s)
        self._wanted = 0

    def _exhausted(self) -> bool:
        return not self._ready and not self._unfinished

    def _pop(self, max_count: int) -> tuple[list[Frame], list[Frame]]:
        oldest_ns = int((self._clock() - self._max_age_s) * 1e9)
        taken: list[Frame] = []
        stale: list[Frame] = []
        ahead: list[_Lane] = []
        while self._ready and len(taken) < max_count:
            _, lane = heappop(self._ready)
            frame = lane.frames.popleft()
            lane.served = self._turn = self._turn + 1
            if lane.frames:
                ahead.append(lane)
            if not lane.live:
                lane.room.notify()
            elif frame.info.captured_ns < oldest_ns:
                stale.append(frame)
                continue
            taken.append(frame)
        # At most one frame of each camera: what a file has more waits for the next batch.
        for lane in ahead:
            heappush(self._ready, (lane.served, lane))
        return taken, stale

    def _drop(self, frame: Frame, reason: DropReason) -> None:
        frame.release()
        self._counts.dropped(frame.info.camera_id, reason)
