"""Distributions: beside counting one by one, at the bounds, and over many folds."""

from __future__ import annotations

import random

import pytest

from edge_app.messages import Timings
from edge_app.pipeline.times import BOUNDS_S, FOLD_ROWS, STAGES, single_times, stage_times


@pytest.mark.parametrize("rows", [0, 1, FOLD_ROWS - 1, FOLD_ROWS, 3 * FOLD_ROWS + 7])
def test_counts_are_those_of_counting_one_by_one(rows: int) -> None:
    draw = random.Random(rows)
    times, seen_ms = stage_times(), []
    for _ in range(rows):
        row = [10 ** draw.uniform(-2, 4) for _ in STAGES]
        seen_ms.append(row)
        times.add(Timings(**{f"{stage}_ms": value for stage, value in zip(STAGES, row, strict=True)}))
    for column, found in enumerate(times.distributions()):
        values_s = [row[column] / 1e3 for row in seen_ms]
        at_most = [sum(value <= bound for value in values_s) for bound in BOUNDS_S]
        assert [sum(found.counts[: index + 1]) for index in range(len(BOUNDS_S))] == at_most
        assert found.total == rows
        assert found.sum_s == pytest.approx(sum(values_s))


def test_a_bound_belongs_to_its_own_bucket() -> None:
    times = single_times()
    for bound in BOUNDS_S:
        times.add((bound * 1e3,))
    times.add((BOUNDS_S[-1] * 1e3 + 1,))
    (found,) = times.distributions()
    assert found.counts == (1,) * (len(BOUNDS_S) + 1)


def test_asking_twice_counts_once() -> None:
    times = single_times()
    times.add((1.0,))
    assert times.distributions() == times.distributions()
