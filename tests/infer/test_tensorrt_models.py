"""Two models at once, on one GPU or on two: each camera's frames go through its own."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_app.gpu.driver import count_gpus
from edge_app.interfaces import FrameSink
from edge_app.messages import Detections
from edge_app.pipeline.lanes import FrameLanes
from edge_app.pipeline.router import FrameRouter
from edge_app.pipeline.statistics import Statistics
from edge_app.pipeline.street import Model, Street
from tests.gpu.plans import build_plan, write_plan
from tests.infer.conftest import MakeModel
from tests.infer.test_onnxruntime import make_frame
from tests.infer.test_tensorrt import (
    PADDING,
    average,
    close_what_a_failed_test_left_open,
    gpu,
    make_backend,
)
from tests.pipeline.test_street import detect

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]

__all__ = ["average", "close_what_a_failed_test_left_open", "gpu"]

FRAMES = 200


class Values:
    """Keeps the confidence that came for each frame of each camera."""

    def __init__(self) -> None:
        self.of: defaultdict[str, list[float]] = defaultdict(list)

    def put(self, detections: Detections, *, wait: bool) -> None:
        self.of[detections.info.camera_id].append(float(detections.confidence[0]))


class Players:
    """Cameras whose frame number n has the value n everywhere."""

    def __init__(self, sink: FrameSink, cameras: Sequence[str]) -> None:
        self.sink = sink
        self.threads = [threading.Thread(target=self.play, args=(camera,)) for camera in cameras]

    def play(self, camera_id: str) -> None:
        for number in range(FRAMES):
            self.sink.put(make_frame(number, camera_id))
        self.sink.finish(camera_id)

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self, timeout_s: float) -> None:
        for thread in self.threads:
            thread.join(timeout_s)


@pytest.mark.parametrize("devices", [(0, 0), (0, 1)], ids=["one GPU", "two GPUs"])
def test_two_models_at_once(devices: tuple[int, int], average: Path, make_model: MakeModel) -> None:
    if max(devices) >= count_gpus():
        pytest.skip("there is one NVIDIA GPU only")
    greatest = make_model(operator="GlobalMaxPool", name="greatest.onnx")
    shapes = {"images": ((1, 3, 32, 48), (2, 3, 32, 48), (4, 3, 32, 48))}
    plan = build_plan(greatest.read_bytes(), shapes)
    write_plan(greatest.parent, plan, greatest.with_suffix(".engine").name)
    backends = {
        name: make_backend(path, max_batch=4, device=device)
        for name, path, device in zip(("mean", "most"), (average, greatest), devices, strict=True)
    }
    for backend in backends.values():
        backend.open()
    chosen = {"a": "mean", "b": "most", "c": "most"}
    statistics = Statistics(chosen)
    lanes = {
        name: FrameLanes(
            {camera: False for camera in chosen if chosen[camera] == name}, max_age_s=60, counts=statistics
        )
        for name in backends
    }
    sink = Values()
    router = FrameRouter({camera: lanes[name] for camera, name in chosen.items()})
    Street(
        cameras=Players(router, list(chosen)),
        live=frozenset(),
        models=[Model(lanes[name], backend, detect, 0.002, name) for name, backend in backends.items()],
        sink=sink,
        statistics=statistics,
    ).run(threading.Event())
    mean = [(0.75 * value + 0.25 * PADDING) / 255 for value in range(FRAMES)]
    most = [max(value, PADDING) / 255 for value in range(FRAMES)]
    for camera, expected in (("a", mean), ("b", most), ("c", most)):
        assert sink.of[camera] == pytest.approx(expected, abs=1e-4)
