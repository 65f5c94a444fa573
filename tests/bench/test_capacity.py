"""How the number of cameras is found, and what counts as overload."""

from __future__ import annotations

import pytest

from edge_app.bench.capacity import Trial, capacity_of, find_capacity, judge_overload
from edge_app.bench.street import StreetSpeed


def run(
    frames_per_s: float, p95_ms: float = 5.0, *, captured: int = 1000, dropped: dict[str, int] | None = None
) -> StreetSpeed:
    latency = (p95_ms / 2, p95_ms, 2 * p95_ms)
    stages = {"waiting": (1.0, 2.0, 3.0)}
    return StreetSpeed(frames_per_s, latency, latency, stages, captured, dropped or {}, 0.02, 1.0, 100.0, {})


@pytest.mark.parametrize("most", [0, 1, 2, 3, 7, 8, 100, 187, 1024])
def test_the_greatest_number_that_is_carried_is_found(most: int) -> None:
    tried: list[int] = []

    def measure(cameras: int) -> StreetSpeed:
        tried.append(cameras)
        return run(30 * min(cameras, most), 5.0 if cameras <= most else 500.0)

    found = capacity_of(find_capacity(measure, latency_ms=50))
    assert most - max(1, most // 20) <= found <= most
    assert len(tried) == len(set(tried)) <= 16


def test_frames_that_are_missing_count_as_well_as_latency() -> None:
    def measure(cameras: int) -> StreetSpeed:
        return run(30 * cameras, dropped={"no_buffer": 5} if cameras > 4 else {"superseded": 1})

    trials = find_capacity(measure, latency_ms=50)
    assert capacity_of(trials) == 4
    assert trials[0] == Trial(1, 30, 5.0, 0.001, carried=True)


def test_no_latency_at_all_is_not_carried() -> None:
    nothing = StreetSpeed(0, (), (), {}, 0, {}, 0.0, 0.0, 0.0, {})
    assert capacity_of(find_capacity(lambda _: nothing, latency_ms=50)) == 0


def test_overload_is_judged_by_the_batches_in_flight() -> None:
    found = judge_overload(run(1000), run(970, 30.0), slots=3, max_batch=8, wait_ms=4.0)
    assert found.share == pytest.approx(0.97)
    assert found.allowed_ms == pytest.approx((3 + 1.5) * 8 + 4)
    assert (found.p95_ms, found.age_p95_ms, found.spread) == (30.0, 2.0, 0.02)
