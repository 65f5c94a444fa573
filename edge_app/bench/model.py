"""The demo model alone on ONNX Runtime: what inference costs where there is no GPU."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import onnxruntime

from edge_app.bench.measure import BenchResult, measure
from edge_app.config.resources import demo_model
from edge_app.infer.onnxruntime import session_options

WAITING = "threads that wait (the default)"
SPINNING = "threads that spin"


def run(rounds: int = 200, *, threads: int | None = None) -> BenchResult:
    """Measure `session.run` on one image, `rounds` times with waiting and with spinning threads.

    Args:
        rounds: How often each is timed.
        threads: Of the model; None: one for each core.
    """
    threads = threads or len(os.sched_getaffinity(0))
    ways = {WAITING: _way(threads, spinning=False), SPINNING: _way(threads, spinning=True)}
    return measure(f"the demo model, batch 1, {threads} threads", ways, rounds=rounds, references=[WAITING])


def _way(threads: int, *, spinning: bool) -> Callable[[], object]:
    options = session_options(threads, spinning=spinning)
    session = onnxruntime.InferenceSession(str(demo_model()), options, providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    _, *axes = image.shape
    tensor = np.random.default_rng(0).random((1, *axes), np.float32)
    return lambda: session.run(None, {image.name: tensor})
