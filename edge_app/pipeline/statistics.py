"""What the street counts: frames and drops of each camera, and the rates that come of them."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from edge_app.messages import DropReason, Timings
from edge_app.pipeline.times import STAGES, Distribution, Times, single_times, stage_times

RATE_WINDOW_S = 10.0
BEFORE_SINKS = (DropReason.SUPERSEDED, DropReason.TOO_OLD)
"""Reasons for which a frame goes no further than to its model."""

_LANE_REASONS = frozenset({*BEFORE_SINKS, DropReason.SHUTDOWN})
"""Why frames are dropped before the model; the other reasons are of messages."""

TOTAL = "total"
"""The stage that stands for all: from the end of decoding until the message was made."""


@dataclass(frozen=True, slots=True)
class CameraCounts:
    """One camera's counts since the daemon's start; `fps` is over the last ten seconds."""

    captured: int
    processed: int
    fps: float
    dropped: Mapping[DropReason, int]
    candidates_invalid: int = 0
    """Boxes of the model that were left out: not finite, or without area."""
    candidates_overflow: int = 0
    """Boxes of the model that were left out because there were more than `max_candidates`."""

    @property
    def dropped_frames(self) -> int:
        """Everything dropped, for whatever reason."""
        return sum(self.dropped.values())


@dataclass(slots=True)
class _Tally:
    captured: int = 0
    processed: int = 0
    recent: deque[float] = field(default_factory=deque)
    dropped: Counter[DropReason] = field(default_factory=Counter)
    invalid: int = 0
    overflow: int = 0
    stages: Times[Timings] = field(default_factory=stage_times)
    total: Times[tuple[float]] = field(default_factory=single_times)
    unfinished: int = 0
    """Frames that were captured and are neither processed nor dropped."""
    progress_s: float = 0.0
    """When it last had no unfinished frames, or one of them was processed."""


class Statistics:
    """Counts from many threads; a `DropObserver`."""

    def __init__(self, cameras: Iterable[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tallies = {camera_id: _Tally() for camera_id in cameras}
        """Also of cameras that have gone: their last frames may still be on their way."""
        self._gone: set[str] = set()

    def add(self, camera_id: str) -> None:
        """Count one more camera; one that was there before goes on where it was."""
        with self._lock:
            self._gone.discard(camera_id)
            self._tallies.setdefault(camera_id, _Tally())

    def remove(self, camera_id: str) -> None:
        """A camera has gone, and is not told of any more."""
        with self._lock:
            self._gone.add(camera_id)

    def captured(self, camera_id: str) -> None:
        """Count one frame that came into a camera's lane."""
        with self._lock:
            tally = self._tallies[camera_id]
            tally.captured += 1
            if tally.unfinished <= 0:
                tally.progress_s = self._clock()
            tally.unfinished += 1

    def processed(self, camera_id: str, timings: Timings | None = None) -> None:
        """Count one frame of a camera that became detections, and how long that took."""
        now = self._clock()
        with self._lock:
            tally = self._tallies[camera_id]
            tally.processed += 1
            tally.unfinished -= 1
            tally.progress_s = now
            tally.recent.append(now)
            self._forget(tally, now)
            if timings is not None:
                tally.stages.add(timings)

    def published(self, camera_id: str, total_ms: float) -> None:
        """Count how long it took from the end of a frame's decoding until its message was made."""
        with self._lock:
            self._tallies[camera_id].total.add((total_ms,))

    def left_out(self, camera_id: str, *, invalid: int, overflow: int) -> None:
        """Count boxes of one frame that the decoder left out."""
        if invalid or overflow:
            with self._lock:
                tally = self._tallies[camera_id]
                tally.invalid += invalid
                tally.overflow += overflow

    def dropped(self, camera_id: str, reason: DropReason, count: int = 1) -> None:
        """Count frames or messages of a camera that went no further."""
        with self._lock:
            tally = self._tallies[camera_id]
            tally.dropped[reason] += count
            if reason in _LANE_REASONS:
                tally.unfinished -= count

    def dropped_frames(self, camera_id: str) -> int:
        """Return how many frames and messages of a camera went no further, for whatever reason."""
        with self._lock:
            return sum(self._tallies[camera_id].dropped.values())

    def dropped_before_sinks(self, camera_id: str) -> int:
        """Return how many frames of a camera never became a message."""
        with self._lock:
            dropped = self._tallies[camera_id].dropped
            return sum(dropped[reason] for reason in BEFORE_SINKS)

    def counts(self) -> dict[str, CameraCounts]:
        """Return every camera's counts at this moment."""
        now = self._clock()
        with self._lock:
            here = {name: tally for name, tally in self._tallies.items() if name not in self._gone}
            return {camera_id: self._counts(tally, now) for camera_id, tally in here.items()}

    def times(self) -> dict[str, dict[str, Distribution]]:
        """Return every camera's times by stage, `TOTAL` among them."""
        with self._lock:
            tallies = dict(self._tallies)
        found = {}
        for camera_id, tally in tallies.items():
            with self._lock:  # for one camera at a time: capture threads wait for it
                distributions = [*tally.stages.distributions(), *tally.total.distributions()]
            found[camera_id] = dict(zip((*STAGES, TOTAL), distributions, strict=True))
        return found

    def standstill_s(self, cameras: Iterable[str]) -> float:
        """Return for how long frames of these cameras have waited while not one of them was processed.

        The cameras of one model: of many cameras each may wait long for its turn. 0 if no frame waits.
        """
        with self._lock:
            tallies = [self._tallies[camera_id] for camera_id in cameras]
            if all(tally.unfinished <= 0 for tally in tallies):
                return 0.0
            return max(0.0, self._clock() - max(tally.progress_s for tally in tallies))

    def _counts(self, tally: _Tally, now: float) -> CameraCounts:
        self._forget(tally, now)
        # Between n frames lie n - 1 intervals; a camera that stopped decays with the growing span.
        span = now - tally.recent[0] if tally.recent else 0.0
        fps = (len(tally.recent) - 1) / span if span > 0 else 0.0
        dropped = dict(tally.dropped)
        return CameraCounts(tally.captured, tally.processed, fps, dropped, tally.invalid, tally.overflow)

    @staticmethod
    def _forget(tally: _Tally, now: float) -> None:
        while tally.recent and tally.recent[0] < now - RATE_WINDOW_S:
            tally.recent.popleft()
