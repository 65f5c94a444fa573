"""How many cameras a machine carries, and what it does with more than it can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_app.bench.street import StreetSpeed

MOST_CAMERAS = 1024
SPARED = 1e-3
"""This share of frames may be missing: what a busy moment of the machine costs."""

Measure = Callable[[int], StreetSpeed]
"""Runs the street with so many cameras."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One number of cameras that was tried."""

    cameras: int
    frames_per_s: float
    p95_ms: float
    missing: float
    """Share of the frames due that were not processed in time."""
    carried: bool


def find_capacity(measure: Measure, latency_ms: float) -> list[Trial]:
    """Find how many cameras are carried at a p95 from captured to encoded of at most `latency_ms`.

    The number is doubled until it is too much, then halved in between to within a twentieth.

    Returns:
        Every trial, in order; the greatest that was carried is the answer.
    """
    trials: list[Trial] = []

    def carried(cameras: int) -> bool:
        trials.append(_judge(measure(cameras), cameras, latency_ms))
        return trials[-1].carried

    least, most = 0, 1
    while most <= MOST_CAMERAS and carried(most):
        least, most = most, 2 * most
    while most <= MOST_CAMERAS and most - least > max(1, least // 20):
        middle = (least + most) // 2
        least, most = (middle, most) if carried(middle) else (least, middle)
    return trials


def capacity_of(trials: list[Trial]) -> int:
    """Return the greatest number of cameras that was carried, 0 if none was."""
    return max((trial.cameras for trial in trials if trial.carried), default=0)


def _judge(run: StreetSpeed, cameras: int, latency_ms: float) -> Trial:
    due = run.captured + run.dropped.get("no_buffer", 0)
    missing = sum(run.dropped.values()) / due if due else 1.0
    p95_ms = run.latency_ms[1] if run.latency_ms else float("inf")
    return Trial(cameras, run.frames_per_s, p95_ms, missing, missing <= SPARED and p95_ms <= latency_ms)


@dataclass(frozen=True, slots=True)
class Overload:
    """What came of twice the frames that can be processed.

    Attributes:
        capacity_fps: Frames a second that are processed when as many are there as are taken.
        overloaded_fps: Frames a second that were processed of twice that.
        p95_ms: From the lane's exit to encoded.
        allowed_ms: What that may be: (slots + 1.5) batch periods and the longest wait for a batch.
        age_p95_ms: Age of the frames at the lane's exit.
        spread: (fastest - slowest camera) / mean.
    """

    capacity_fps: float
    overloaded_fps: float
    p95_ms: float
    allowed_ms: float
    age_p95_ms: float
    spread: float
    dropped: dict[str, int]

    @property
    def share(self) -> float:
        """Share of the capacity that was kept."""
        return self.overloaded_fps / self.capacity_fps if self.capacity_fps else 0.0


def judge_overload(
    capacity: StreetSpeed, overloaded: StreetSpeed, *, slots: int, max_batch: int, wait_ms: float
) -> Overload:
    """Compare a run at twice the capacity with one at capacity."""
    period_ms = 1e3 * max_batch / capacity.frames_per_s if capacity.frames_per_s else float("inf")
    return Overload(
        capacity_fps=capacity.frames_per_s,
        overloaded_fps=overloaded.frames_per_s,
        p95_ms=overloaded.from_lane_ms[1] if overloaded.from_lane_ms else float("inf"),
        allowed_ms=(slots + 1.5) * period_ms + wait_ms,
        age_p95_ms=overloaded.stages_ms["waiting"][1] if overloaded.latency_ms else float("inf"),
        spread=overloaded.spread,
        dropped=dict(overloaded.dropped),
    )
