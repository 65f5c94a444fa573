"""What one detections message costs: built and encoded, beside json.dumps of the same."""

from __future__ import annotations

import json
import time

import numpy as np

from edge_app.bench.measure import BenchResult, measure
from edge_app.messages import Detections, FrameInfo, ModelInfo
from edge_app.publish.payloads import Stamp, detections_payload, encode
from edge_app.publish.ulid import UlidFactory

OURS = "build, encode with orjson"
BUILD = "(build alone)"
JSON = "build, json.dumps"
LABELS = ("person", "bicycle", "car", "truck", "bus", "dog")


def run(rounds: int = 3000, *, objects: int = 20) -> BenchResult:
    """Measure a message of `objects` objects, `rounds` times each way."""
    detections = make_detections(objects)
    model = ModelInfo("demo", "0" * 64, LABELS, "onnxruntime", "fp32")
    new_id = UlidFactory()

    def build() -> dict[str, object]:
        stamp = Stamp("node", "0" * 32, new_id(), 1, time.monotonic_ns(), time.time_ns(), clock_synced=True)
        return detections_payload(stamp, detections, model, 0)

    ways = {
        OURS: lambda: encode(build()),
        BUILD: build,
        JSON: lambda: json.dumps(build()).encode(),
    }
    return measure(f"a detections message of {objects} objects", ways, rounds=rounds, references=[OURS])


def make_detections(objects: int) -> Detections:
    """Return the detections of a frame, `objects` of them."""
    random = np.random.default_rng(0)
    corner = random.uniform(0, 600, (objects, 2))
    info = FrameInfo("front", 7, time.monotonic_ns(), time.time_ns(), 1280, 720)
    return Detections(
        info,
        np.hstack([corner, corner + 50]).astype(np.float32),
        np.sort(random.uniform(0.25, 1, objects).astype(np.float32))[::-1].copy(),
        random.integers(0, len(LABELS), objects).astype(np.int32),
    )
