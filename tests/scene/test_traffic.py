import math

import numpy as np
import pytest

from edge_app.scene.layout import plan_street
from edge_app.scene.traffic import CYCLE_S, Traffic, eased

FASTEST_M_S = 26.0


def traffic(seed: int) -> Traffic:
    rng = np.random.default_rng(seed)
    return Traffic(plan_street(rng, 5.0), seed, 0.0, rng)


@pytest.mark.parametrize("seed", range(8))
def test_nobody_jumps(seed: int) -> None:
    moving, step_s = traffic(seed), 1 / 15
    for start_s in np.arange(0.0, 2.2 * CYCLE_S, 4.9):
        before = {id(posed.body): posed for posed in moving.at(start_s)}
        after = {id(posed.body): posed for posed in moving.at(start_s + step_s)}
        both = before.keys() & after.keys()
        assert len(both) > 0.8 * len(before)
        for body in both:
            moved = math.dist((before[body].x, before[body].y), (after[body].x, after[body].y))
            assert moved < FASTEST_M_S * step_s


@pytest.mark.parametrize("seed", range(8))
def test_most_of_the_street_is_on_its_way(seed: int) -> None:
    moving = traffic(seed)
    before = {id(posed.body): posed for posed in moving.at(0.0)}
    after = {id(posed.body): posed for posed in moving.at(CYCLE_S / 2)}
    moved = [abs(before[body].x - after[body].x) > 0.5 for body in before.keys() & after.keys()]
    gone = len(before.keys() - after.keys())
    assert sum(moved) + gone > 0.6 * len(before)


@pytest.mark.parametrize("seed", range(8))
def test_vehicles_do_not_drive_through_each_other(seed: int) -> None:
    moving = traffic(seed)
    for time_s in np.arange(0.0, 60.0, 7.3):
        lanes: dict[float, list[float]] = {}
        for posed in moving.at(time_s):
            if posed.class_id in (2, 3, 4):
                lanes.setdefault(round(posed.y / 3.3 - 0.5), []).append(posed.x)
        for places in lanes.values():
            assert (np.diff(sorted(places)) > 4.0).all()


def test_speed_rises_and_falls_softly() -> None:
    ways = np.array([eased(share) for share in np.linspace(0.0, 1.0, 101)])
    speeds = np.diff(ways)
    assert ways[0] == 0.0
    assert ways[-1] == pytest.approx(1.0)
    assert (speeds >= 0).all()
    assert np.abs(np.diff(speeds)).max() < 0.001
    assert eased(-1.0) == 0.0
    assert eased(2.0) == pytest.approx(1.0)
