from __future__ import annotations

import random

import pytest

from edge_app.capture.backoff import Backoff
from edge_app.capture.pacing import MediaTimes, Pace, RateLimit


def taken(limit: RateLimit, times: list[float]) -> list[float]:
    return [time for time in times if limit.take(time)]


def test_without_a_limit_every_frame_is_taken() -> None:
    assert len(taken(RateLimit(None), [i / 30 for i in range(30)])) == 30


@pytest.mark.parametrize(
    ("fps", "limit", "expected"), [(30, 30, 300), (30, 15, 150), (30, 10, 100), (25, 1, 10)]
)
def test_as_many_frames_as_allowed_are_taken(fps: int, limit: float, expected: int) -> None:
    assert len(taken(RateLimit(limit), [i / fps for i in range(10 * fps)])) == expected


@pytest.mark.parametrize("limit", [5, 12.5, 15, 25])
def test_jitter_costs_no_frames_and_wins_none(limit: float) -> None:
    rng = random.Random(7)
    times = [i / 30 + rng.uniform(-0.004, 0.004) for i in range(3000)]
    assert len(taken(RateLimit(limit), times)) == pytest.approx(100 * limit, rel=0.03)


def test_after_a_silence_there_is_no_burst() -> None:
    limit = RateLimit(10)
    assert taken(limit, [0.0, 5.0, 5.01, 5.02, 5.1]) == [0.0, 5.0, 5.1]


def test_a_reset_forgets_the_past() -> None:
    limit = RateLimit(10)
    assert limit.take(100.0)
    limit.reset()
    assert limit.take(0.0)


def test_a_pace_holds_frames_back_until_their_time() -> None:
    pace = Pace()
    assert pace.delay_s(7.0, 100.0) == 0
    assert pace.delay_s(7.5, 100.1) == pytest.approx(0.4)
    assert pace.delay_s(7.5, 100.6) == 0


def test_a_pace_that_fell_behind_starts_anew_instead_of_rushing() -> None:
    pace = Pace()
    pace.delay_s(0.0, 0.0)
    assert pace.delay_s(0.1, 5.0) == 0
    assert pace.delay_s(0.2, 5.0) == pytest.approx(0.1)


def test_a_jump_of_the_media_time_does_not_stop_the_stream() -> None:
    pace = Pace()
    pace.delay_s(0.0, 0.0)
    assert pace.delay_s(95443.7, 0.1) == pytest.approx(0, abs=1e-9)


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 30, uniform=lambda _low, high: high)
    assert [backoff.next_s() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_success_begins_with_the_shortest_wait_again() -> None:
    backoff = Backoff(0.5, 30, uniform=lambda _low, high: high)
    for _ in range(5):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 0.5


def test_waits_are_spread_between_half_and_all_and_never_too_short() -> None:
    waits = []
    for seed in range(50):
        backoff = Backoff(0.5, 30, uniform=random.Random(seed).uniform)
        waits.append([backoff.next_s() for _ in range(6)])
    assert all(wait == 0.5 for wait, *_ in waits)
    assert all(8 <= wait <= 16 for *_, wait in waits)
    assert len({wait for *_, wait in waits}) == 50


def test_a_clock_that_jumps_back_does_not_silence_the_camera() -> None:
    limit = RateLimit(5)
    times = [95443.0 + i / 25 for i in range(25)] + [i / 25 for i in range(25)]
    assert taken(limit, times)[-5:] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])


def test_times_that_a_stream_does_not_tell_follow_from_its_rate() -> None:
    times = MediaTimes(25)
    assert [times.fill(told) for told in (None, None, 7.0, None, None, -0.1)] == pytest.approx(
        [0.0, 0.04, 7.0, 7.04, 7.08, 0.0]
    )
    times.reset()
    assert times.fill(None) == 0.0
