"""Several models in one street: each camera's frames go through its own, and a failure names its model."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from edge_app.errors import StageFailedError
from edge_app.messages import Detections
from edge_app.pipeline.lanes import FrameLanes
from edge_app.pipeline.router import FrameRouter
from edge_app.pipeline.statistics import Statistics
from edge_app.pipeline.street import Model, Street
from tests.pipeline.test_street import Film, MemoryBackend, detect

CHOSEN = {"door": "faces", "yard": "cars", "gate": "cars"}


class NamingSink:
    def __init__(self) -> None:
        self.received: list[tuple[str, int, int]] = []

    def put(self, detections: Detections, *, wait: bool) -> None:
        info = detections.info
        self.received.append((info.camera_id, info.frame_id, int(detections.class_id[0])))


def make_street(
    backends: dict[str, MemoryBackend], count: int, cameras: Sequence[str] = tuple(CHOSEN)
) -> tuple[Street, NamingSink, Statistics]:
    statistics = Statistics(CHOSEN)
    lanes = {
        name: FrameLanes(
            {camera: False for camera, chosen in CHOSEN.items() if chosen == name},
            max_age_s=60,
            counts=statistics,
        )
        for name in backends
    }
    router = FrameRouter({camera: lanes[name] for camera, name in CHOSEN.items()})
    sink = NamingSink()
    street = Street(
        cameras=Film(router, cameras, count),
        live=frozenset(),
        models=[Model(lanes[name], backend, detect, 0.002, name) for name, backend in backends.items()],
        sink=sink,
        statistics=statistics,
    )
    return street, sink, statistics


def test_each_camera_goes_through_its_own_model_and_every_frame_arrives() -> None:
    backends = {"faces": MemoryBackend(), "cars": MemoryBackend()}
    street, sink, statistics = make_street(backends, 50)
    street.run(threading.Event())
    for camera in CHOSEN:
        assert [number for name, number, _ in sink.received if name == camera] == list(range(50))
    assert sum(backends["faces"].batches) == 50
    assert sum(backends["cars"].batches) == 100
    assert all(counts.processed == 50 for counts in statistics.counts().values())
    assert all(backend.slots.qsize() == 2 for backend in backends.values())


def test_a_model_that_fails_ends_all_of_them_and_is_named() -> None:
    backends = {"faces": MemoryBackend(fail_on=7), "cars": MemoryBackend()}
    street, _, _ = make_street(backends, 1_000_000)
    with pytest.raises(
        StageFailedError, match="stage 'feeder faces' failed: RuntimeError: the device is gone"
    ):
        street.run(threading.Event())
    assert all(backend.slots.qsize() == 2 for backend in backends.values())


def test_a_camera_away_does_not_hold_up_those_of_another_model() -> None:
    backends = {"faces": MemoryBackend(), "cars": MemoryBackend()}
    street, sink, _ = make_street(backends, 20, ["yard", "gate"])
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    street.run(stop)
    assert {name for name, _, _ in sink.received} == {"yard", "gate"}
    assert len(sink.received) == 40
