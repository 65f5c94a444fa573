"""The benchmark of engines: real child processes, but none of them needs a GPU; figures are not judged."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest

from edge_app.bench.engine_report import REFERENCE, Comparison, WayRow, judge, report
from edge_app.bench.engines import Match, Turns, alternate, compare, parse, relative_error, run
from edge_app.bench.turns import Child
from edge_app.errors import BackendError, ConfigError

SIDE = Path(__file__).with_name("arithmetic_side.py")
OTHER = "TensorRT fp16"


def start(prefix: str, factor: float) -> Child:
    return Child(f"the side of {prefix}", [sys.executable, str(SIDE), prefix, str(factor)])


@pytest.fixture
def sides() -> Iterator[tuple[Child, Child]]:
    pair = start(REFERENCE, 1.0), start(OTHER, 1.001)
    yield pair
    for side in pair:
        side.close()


def test_both_sides_are_timed_in_every_round_and_compared(sides: tuple[Child, Child]) -> None:
    match = Match(sides, ["demo", f"not {OTHER}"], [1, 3])
    assert list(match.ways) == [("demo", 1), ("demo", 3)]
    comparisons = compare(match, Turns(rounds=4, warm_s=0.001, calls=3))
    assert [(found.model, found.batch) for found in comparisons] == [("demo", 1), ("demo", 3)]
    for found in comparisons:
        assert {row.way for row in found.rows} == {REFERENCE, f"{REFERENCE} twice", OTHER, f"{OTHER} twice"}
        assert found.row(REFERENCE).speedup == 1
        assert found.row(REFERENCE).error == 0
        assert found.row(OTHER).error == pytest.approx(0.001, rel=0.01)
        assert found.row(f"{OTHER} twice").error == pytest.approx(1.002, rel=0.01)
        assert found.row(f"{OTHER} twice").device_ms == pytest.approx(1.001)
        for row in found.rows:
            low, high = row.spread_ms
            assert 0 < low <= row.call_ms <= high


def test_a_place_for_the_result_is_tried_before_anything_is_measured(tmp_path: Path) -> None:
    place = str(tmp_path / "nowhere" / "x.json")
    arguments = ["--engines", str(tmp_path), "--weights", str(tmp_path), "--torch-python", "/nowhere/python"]
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        run(parse([*arguments, "--json", place]))


def test_what_cannot_be_run_is_said(sides: tuple[Child, Child]) -> None:
    match = Match(sides, ["demo"], [1])
    assert match.left_out == [
        f"demo, batch 1, {prefix} never: there is no such thing" for prefix in (REFERENCE, OTHER)
    ]


def test_what_a_child_prints_is_no_answer(sides: tuple[Child, Child]) -> None:
    assert sides[0].ask(20, do="describe") == {"numpy": np.__version__}


def test_a_child_that_fails_at_something_can_be_asked_again(sides: tuple[Child, Child]) -> None:
    with pytest.raises(BackendError, match=r"the side of eager FP32 failed at .*ValueError: an odd model"):
        sides[0].ask(20, do="open", model="odd", batch=1)
    assert sides[0].ask(20, do="open", model="demo", batch=1)["ways"]


def test_a_child_that_dies_is_an_error(sides: tuple[Child, Child]) -> None:
    with pytest.raises(BackendError, match="ended with status 3"):
        sides[0].ask(20, do="open", model="crash", batch=1)
    with pytest.raises(BackendError, match="ended with status 3"):
        sides[0].ask(20, do="describe")


def test_a_child_that_hangs_is_an_error_and_is_ended() -> None:
    child = start("slow", 1.0)
    child.ask(20, do="describe")
    with pytest.raises(BackendError, match="did not answer in time"):
        child.ask(0.2, do="open", model="hang", batch=1)
    child.close(timeout_s=0.2)


def test_sides_alternate() -> None:
    near, far = object(), object()
    ways = {**{f"near {n}": near for n in range(5)}, **{f"far {n}": far for n in range(3)}}
    found = alternate(ways, Random(1))  # type: ignore[arg-type]
    assert sorted(found) == sorted(ways)
    assert all(ways[a] is not ways[b] for a, b in pairwise(found[:6]))
    assert found != alternate(ways, Random(2))  # type: ignore[arg-type]


def test_outputs_of_another_size_are_infinitely_wrong() -> None:
    assert relative_error(np.ones(3), np.ones(3)) == 0
    assert relative_error(np.zeros(3), np.ones(3)) == 1
    assert relative_error(np.ones(3), np.ones(4)) == float("inf")


def row(way: str, call_ms: float, error: float = 1e-3) -> WayRow:
    return WayRow(way, call_ms, (call_ms, call_ms), call_ms, 6.0 / call_ms, error)


@pytest.mark.parametrize(
    ("engine_ms", "holds"), [(0.9, [True, True]), (1.1, [False, True]), (1.3, [False, False])]
)
def test_claims_of_the_best_engine_are_judged(engine_ms: float, holds: list[bool]) -> None:
    rows = (
        row(REFERENCE, 6.0),
        row("FP16 graph", 1.2),
        row("TensorRT fp32-l1", 0.1),
        row("TensorRT fp16-l1", 5.0),
        row("TensorRT fp16-l1 graph", engine_ms),
    )
    claims = judge(Comparison("yolo11n", 1, rows))
    assert [claim.holds for claim in claims] == holds
    text = report([Comparison("yolo11n", 1, rows)], claims, {"torch": "2"})
    assert f"times faster than {REFERENCE}, at least 6 wanted" in text
    assert text.count("FAILS") == holds.count(False)
    assert judge(Comparison("yolo11n", 8, rows)) == []
    assert judge(Comparison("demo", 1, rows)) == []
    assert judge(Comparison("yolo11n", 1, rows[:3])) == []


def test_an_engine_that_is_wrong_bears_out_nothing() -> None:
    rows = (row(REFERENCE, 6.0), row("TensorRT fp16-l1", 0.5, error=0.5))
    assert [claim.holds for claim in judge(Comparison("yolo11n", 1, rows))] == [False]
