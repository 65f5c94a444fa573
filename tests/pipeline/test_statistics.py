"""Counts and rates."""

import threading

import pytest

from edge_app.messages import DropReason, Timings
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


def test_a_standstill_is_frames_that_wait_while_none_is_processed() -> None:
    clock = Clock()
    statistics = Statistics(["a", "b", "c"], clock=clock)
    assert statistics.standstill_s(["a", "b"]) == 0
    clock.now += 3600
    statistics.captured("a")
    assert statistics.standstill_s(["a", "b"]) == 0  # an hour without a frame is none
    for _ in range(12):
        clock.now += 1
        statistics.captured("a")
        statistics.dropped("a", DropReason.SUPERSEDED)
    assert statistics.standstill_s(["a", "b"]) == 12
    assert statistics.standstill_s(["b"]) == 0
    statistics.processed("a")
    assert statistics.standstill_s(["a", "b"]) == 0


def test_of_many_cameras_one_may_wait_for_its_turn() -> None:
    clock = Clock()
    statistics = Statistics(["a", "b"], clock=clock)
    statistics.captured("a")
    clock.now += 20
    statistics.captured("b")
    statistics.processed("b")
    assert statistics.standstill_s(["a", "b"]) == 0
    clock.now += 5
    assert statistics.standstill_s(["a", "b"]) == 5


def test_messages_that_are_dropped_are_no_frames_that_wait() -> None:
    clock = Clock()
    statistics = Statistics(["a"], clock=clock)
    statistics.captured("a")
    statistics.dropped("a", DropReason.BROKER_ABSENT)
    clock.now += 7
    assert statistics.standstill_s(["a"]) == 7
    statistics.dropped("a", DropReason.TOO_OLD)
    assert statistics.standstill_s(["a"]) == 0


def test_times_are_counted_by_camera_and_stage() -> None:
    statistics = Statistics(["a", "b"])
    statistics.processed("a", Timings(capture_ms=4, waiting_ms=1, preprocess_ms=2, inference_ms=8))
    statistics.published("a", 20.0)
    times = statistics.times()
    assert list(times["a"]) == ["capture", "waiting", "preprocess", "inference", "postprocess", "total"]
    sums_s = {stage: round(found.sum_s, 6) for stage, found in times["a"].items()}
    assert sums_s == {
        "capture": 0.004,
        "waiting": 0.001,
        "preprocess": 0.002,
        "inference": 0.008,
        "postprocess": 0,
        "total": 0.02,
    }
    assert {found.total for found in times["a"].values()} == {1}
    assert {found.total for found in times["b"].values()} == {0}


def test_times_can_be_asked_for_while_cameras_come() -> None:
    """As /metrics does during a reload."""
    statistics = Statistics(["a"])
    asked = threading.Event()

    def ask() -> None:
        while len(statistics.times()) <= 500:
            pass
        asked.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    for number in range(500):
        statistics.add(str(number))
    asking.join(20)
    assert asked.is_set(), "it failed"
