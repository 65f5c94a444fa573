"""What metrics cost: a frame's times, counted as the daemon does and in other ways; and a scrape."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from edge_app.bench.measure import BenchResult, measure
from edge_app.messages import DropReason, Timings
from edge_app.ops.metrics.page import Page, registry_of
from edge_app.pipeline.statistics import TOTAL
from edge_app.pipeline.times import BOUNDS_S, STAGES, single_times, stage_times

FRAMES = 4096
"""A call counts so many frames, so that what is put off until later is in it."""
CAMERAS = 8

OURS = "appended, counted later"
AT_ONCE = "bisect, each at once"
LIBRARY = "Histogram.observe"


def run_frame(rounds: int = 30) -> BenchResult:
    """Measure what the times of `FRAMES` frames cost, `rounds` times each way."""
    timings = [Timings(4.1, 3.7 + n % 7, 0.9, 12.5 + n % 31, 0.4) for n in range(FRAMES)]
    ways: dict[str, Callable[[], object]] = {
        OURS: lambda: _append(timings),
        AT_ONCE: lambda: _bisect(timings),
        LIBRARY: lambda: _observe(timings),
    }
    title = f"the {len(STAGES) + 1} times of {FRAMES} frames (a frame: divided by as many)"
    return measure(title, ways, rounds=rounds, references=[OURS])


def run_scrape(rounds: int = 100) -> BenchResult:
    """Measure a scrape of `CAMERAS` cameras, `rounds` times."""
    registry = registry_of(_fill)
    title = f"a scrape of {CAMERAS} cameras, {len(generate_latest(registry)) // 1000} kB"
    return measure(title, {"scrape": lambda: generate_latest(registry)}, rounds=rounds, references=["scrape"])


def _append(timings: list[Timings]) -> None:
    stages, total = stage_times(), single_times()
    for row in timings:
        stages.add(row)
        total.add((row.waiting_ms,))
    stages.distributions()
    total.distributions()


def _bisect(timings: list[Timings]) -> None:
    bounds_ms = [bound * 1e3 for bound in BOUNDS_S]
    counts = [[0] * (len(BOUNDS_S) + 1) for _ in range(6)]
    sums = [0.0] * 6
    for row in timings:
        values = (
            row.capture_ms,
            row.waiting_ms,
            row.preprocess_ms,
            row.inference_ms,
            row.postprocess_ms,
            row.waiting_ms,
        )
        for index, value in enumerate(values):
            counts[index][bisect_left(bounds_ms, value)] += 1
            sums[index] += value


def _observe(timings: list[Timings]) -> None:
    histogram = Histogram(
        "stage_seconds", "x", ("camera", "stage"), buckets=BOUNDS_S, registry=CollectorRegistry()
    )
    capture, waiting, preprocess, inference, postprocess, total = (
        histogram.labels("gate", stage) for stage in (*STAGES, TOTAL)
    )
    for row in timings:
        capture.observe(row.capture_ms / 1e3)
        waiting.observe(row.waiting_ms / 1e3)
        preprocess.observe(row.preprocess_ms / 1e3)
        inference.observe(row.inference_ms / 1e3)
        postprocess.observe(row.postprocess_ms / 1e3)
        total.observe(row.waiting_ms / 1e3)


def _fill(page: Page) -> None:
    counts = range(len(BOUNDS_S) + 1)
    for number in range(CAMERAS):
        camera = f"camera-{number}"
        page.add("edge_app_frames_captured_total", 123456, camera)
        for reason in DropReason:
            page.add("edge_app_drops_total", 7, camera, reason.value)
        for stage in (*STAGES, TOTAL):
            page.add_histogram("edge_app_stage_seconds", BOUNDS_S, counts, 12.5, camera, stage)
