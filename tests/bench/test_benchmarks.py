"""Benchmarks run, agree with what they measure beside, and can be shown; their figures are not judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_app.bench.measure import BenchResult, BenchRow, measure
from edge_app.errors import BackendError, ConfigError
from edge_app.messages import Candidates

cv2 = pytest.importorskip("cv2")

from edge_app.bench import letterbox, nms, nms_gpu  # noqa: E402
from edge_app.bench.command import run_benchmarks  # noqa: E402
from tests.gpu.requirements import require_gpu  # noqa: E402


def test_every_way_is_timed_and_the_fastest_reference_is_1() -> None:
    calls = {"slow": 0, "fast": 0}

    def way(name: str, work: int) -> object:
        calls[name] += 1
        return sum(range(work))

    result = measure(
        "sums",
        {"slow": lambda: way("slow", 100_000), "fast": lambda: way("fast", 10)},
        rounds=5,
        references=["slow", "fast"],
    )
    assert calls["slow"] == calls["fast"] >= 5
    assert result.reference == "fast"
    assert result.row("fast").ratio == 1
    assert result.row("slow").ratio > 1
    for row in result.rows:
        assert 0 < row.p10_ms <= row.median_ms <= row.p90_ms
    with pytest.raises(KeyError):
        result.row("other")


def test_a_result_is_a_table_and_json() -> None:
    rows = (BenchRow("ours", 1.0, 0.5, 2.0, 0.9), BenchRow("theirs", 1.1, 0.6, 2.1, 1.0))
    result = BenchResult("letterbox", "theirs", 10, rows, {"cpu": "any"})
    assert "| ours   |     1.000 |    0.500 |    2.000 |  0.90 |" in result.table().splitlines()
    assert json.loads(json.dumps(result.as_json()))["rows"][1]["name"] == "theirs"


def test_a_place_for_the_results_is_tried_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"/nowhere/x\.json cannot be written: No such file or directory\."):
        run_benchmarks(["letterbox"], rounds=1, json_path=tmp_path / "nowhere" / "x.json")


def test_letterbox_benchmark_leaves_opencv_as_it_was() -> None:
    threads = cv2.getNumThreads()
    result = letterbox.run(2, image_wh=(64, 36), size=32, threads=1)
    assert result.reference == letterbox.FASTEST_KNOWN
    assert {letterbox.OURS, letterbox.BLOB} < {row.name for row in result.rows}
    assert cv2.getNumThreads() == threads


@pytest.mark.parametrize("scene", nms.Scene)
@pytest.mark.parametrize("boxes", [0, 20, 300])
def test_the_ways_to_suppress_agree_on_what_is_measured(boxes: int, scene: nms.Scene) -> None:
    result = nms.run(1, boxes=boxes, scene=scene)
    assert result.reference != nms.OURS
    output = nms.random_output(boxes, scene)[0]
    found = np.flatnonzero(output[4:].max(axis=0) > nms.CONFIDENCE_THRESHOLD)
    assert len(found) == boxes
    centers, half = output[:2, found], output[2:4, found] / 2
    candidates = Candidates(
        np.concatenate([centers - half, centers + half]).T.copy(),
        output[4:].max(axis=0)[found],
        output[4:].argmax(axis=0)[found].astype(np.int32),
    )
    kept = nms.ours(candidates).tolist()
    assert nms.full_matrix(candidates).tolist() == kept
    assert nms.class_matrix(candidates).tolist() == kept
    assert (len(kept) < boxes) == (scene is nms.Scene.PILED and boxes > 0)


@pytest.mark.gpu
@pytest.mark.parametrize("boxes", [0, 20, 300, 3000])
def test_suppression_on_the_gpu_beside_the_cpu(boxes: int) -> None:
    require_gpu()
    result = nms_gpu.run(2, boxes=boxes)
    assert {row.name for row in result.rows} == {nms_gpu.ON_GPU, nms_gpu.ON_CPU, nms_gpu.DECODE}


def test_ways_that_keep_different_boxes_are_no_benchmark() -> None:
    xyxy, confidence = np.ones((2, 4), np.float32), np.ones(2, np.float32)
    both = Candidates(xyxy, confidence, np.zeros(2, np.int32))
    one = Candidates(xyxy[:1], confidence[:1], np.zeros(1, np.int32))
    nms_gpu._require_equal(both, both)
    with pytest.raises(BackendError, match="2 boxes, the CPU 1"):
        nms_gpu._require_equal(both, one)
