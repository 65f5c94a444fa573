"""Counts and rates."""

import pytest

from edge_app.messages import DropReason
from edge_app.pipeline.statistics import Statistics


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    statistics = Statistics(["front"], clock=clock)
    for _ in range(300):
        clock.now += 0.1
        statistics.processed("front")
    assert statistics.counts()["front"].processed == 300
    assert statistics.counts()["front"].fps == pytest.approx(10, rel=0.02)


def test_the_rate_of_a_camera_that_stopped_falls_to_zero() -> None:
    clock = Clock()
    statistics = Statistics(["front"], clock=clock)
    for _ in range(10):
        clock.now += 0.1
        statistics.processed("front")
    clock.now += 5
    assert 0 < statistics.counts()["front"].fps < 3
    clock.now += 60
    assert statistics.counts()["front"].fps == 0


def test_boxes_that_were_left_out_are_counted() -> None:
    statistics = Statistics(["a", "b"])
    statistics.left_out("a", invalid=2, overflow=0)
    statistics.left_out("a", invalid=1, overflow=5)
    counts = statistics.counts()
    assert (counts["a"].candidates_invalid, counts["a"].candidates_overflow) == (3, 5)
    assert (counts["b"].candidates_invalid, counts["b"].candidates_overflow) == (0, 0)


def test_drops_are_counted_by_camera_and_reason() -> None:
    statistics = Statistics(["a", "b"])
    statistics.dropped("a", DropReason.SUPERSEDED)
    statistics.dropped("a", DropReason.SUPERSEDED, 2)
    statistics.dropped("a", DropReason.TOO_OLD)
    assert statistics.counts()["a"].dropped == {DropReason.SUPERSEDED: 3, DropReason.TOO_OLD: 1}
    assert statistics.dropped_frames("a") == 4
    assert statistics.dropped_frames("b") == 0
