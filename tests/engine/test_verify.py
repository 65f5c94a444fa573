"""The comparison of an engine with its model."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edge_app.engine.options import Precision
from edge_app.engine.verify import Boxes, Observation, Thresholds, match_boxes, verify

LIMITS = Thresholds(0.99)


def boxes(*rows: tuple[float, float, float, float, float, int]) -> Boxes:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


def observation(found: Boxes, raw: object = (1.0, 2.0)) -> Observation:
    return Observation({"output0": np.array(raw, np.float32)}, found)


ONE = boxes((0, 0, 10, 10, 0.9, 0))


def test_the_same_results_pass() -> None:
    report = verify(range(3), lambda _: observation(ONE), lambda _: observation(ONE), Precision.FP32)
    assert report.passed
    assert (report.counted, report.matched, report.match_rate) == (6, 6, 1.0)
    assert report.outputs["output0"].cosine == pytest.approx(1.0)
    assert report.outputs["output0"].max_error == 0.0
    assert "6 of 6 matched" in str(report)
    json.dumps(report.to_json())


def test_figures_of_an_output() -> None:
    report = verify(
        [(1.0, 0.0), (0.0, 2.0)],
        lambda raw: observation(ONE, raw),
        lambda raw: observation(ONE, (raw[0] + 0.5, raw[1])),
        Precision.FP16,
    )
    figures = report.outputs["output0"]
    assert figures.max_error == 0.5
    assert figures.mean_error == pytest.approx(0.25)
    # (1, 0, 0, 2) and (1.5, 0, 0.5, 2)
    assert figures.cosine == pytest.approx(5.5 / (5**0.5 * 6.5**0.5))


@pytest.mark.parametrize(
    ("found", "counted", "matched"),
    [
        (boxes((0, 0, 10, 10, 0.9, 1)), 2, 0),
        (boxes((0, 0, 10, 4.9, 0.9, 0)), 2, 0),
        (boxes((0, 0, 10, 5.1, 0.9, 0)), 2, 2),
        (boxes(), 1, 0),
        (boxes((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.8, 0)), 3, 2),
        (boxes((0, 0, 10, 10, 0.26, 0)), 1, 1),
        (boxes((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.26, 0)), 2, 2),
    ],
    ids=["class", "little overlap", "overlap", "missing", "one too many", "unsure partner", "unsure"],
)
def test_boxes_match(found: Boxes, counted: int, matched: int) -> None:
    pair = match_boxes(ONE, found, LIMITS)
    assert (pair.counted, pair.matched) == (counted, matched)


def test_drift_of_confidence() -> None:
    pair = match_boxes(ONE, boxes((0, 0, 10, 10, 0.7, 0)), LIMITS)
    assert pair.drift == pytest.approx([0.2])


COORDINATES = st.floats(0, 100, width=32)
SOME_BOXES = st.builds(
    lambda table: Boxes(
        np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4] + np.float32(1)], axis=1),
        table[:, 4] / np.float32(100),
        (table[:, 5] // 50).astype(np.int32),
    ),
    arrays(np.float32, st.tuples(st.integers(0, 6), st.just(6)), elements=COORDINATES),
)


@settings(deadline=None)
@given(SOME_BOXES, SOME_BOXES)
def test_matching_is_fair_to_both_sides(one: Boxes, other: Boxes) -> None:
    there, back = match_boxes(one, other, LIMITS), match_boxes(other, one, LIMITS)
    assert there.counted == back.counted
    assert 0 <= there.matched <= there.counted


@settings(deadline=None)
@given(SOME_BOXES)
def test_a_result_matches_itself_unless_boxes_coincide(found: Boxes) -> None:
    pair = match_boxes(found, found, LIMITS)
    assert pair.matched == pair.counted


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_fails(value: float) -> None:
    report = verify([0], lambda _: observation(ONE), lambda _: observation(ONE, (1.0, value)), Precision.INT8)
    assert report.faults == ("output output0: 1 values are NaN or infinite",)
    assert "FAILED: output output0" in str(report)


@pytest.mark.parametrize(
    ("precision", "wrong_of_1000", "passed"),
    [
        (Precision.FP32, 1, True),
        (Precision.FP32, 2, False),
        (Precision.FP16, 10, True),
        (Precision.FP16, 11, False),
        (Precision.INT8, 50, True),
        (Precision.INT8, 51, False),
    ],
)
def test_the_threshold_depends_on_the_precision(
    precision: Precision, wrong_of_1000: int, passed: bool
) -> None:
    elsewhere = boxes((50, 50, 60, 60, 0.9, 0))
    report = verify(
        range(1000),
        lambda _: observation(ONE),
        lambda number: observation(elsewhere if number < wrong_of_1000 else ONE),
        precision,
    )
    assert report.passed is passed


@pytest.mark.parametrize(("raw", "passed"), [((1.0, 2.01), True), ((1.0, 3.0), False)])
def test_without_boxes_the_raw_outputs_decide(raw: tuple[float, float], passed: bool) -> None:
    none = boxes()
    report = verify([0], lambda _: observation(none), lambda _: observation(none, raw), Precision.FP16)
    assert report.match_rate is None
    assert report.passed is passed
    assert "the raw outputs decide" in str(report)


def test_what_cannot_be_compared_is_an_error() -> None:
    def other(shape: tuple[int, ...], name: str) -> Observation:
        values: NDArray[np.float32] = np.zeros(shape, np.float32)
        return Observation({name: values}, ONE)

    with pytest.raises(ValueError, match="no frame"):
        verify([], lambda _: observation(ONE), lambda _: observation(ONE), Precision.FP16)
    with pytest.raises(ValueError, match="outputs differ"):
        verify([0], lambda _: observation(ONE), lambda _: other((2,), "boxes"), Precision.FP16)
    with pytest.raises(ValueError, match=r"output 'output0' is \(3,\), the model's is \(2,\)"):
        verify([0], lambda _: observation(ONE), lambda _: other((3,), "output0"), Precision.FP16)
