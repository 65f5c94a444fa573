"""Several models in one street: each camera's frames go through its own, and a failure names its model."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from edge_app.errors import StageFailedError
from edge_app.messages import Detections
from edge_app.pipeline.lanes import FrameLanes
from edge_app.pipeline.router import FrameRouter
from edge_app.pipeline.statistics import Statistics
from edge_app.pipeline.street import Model, Street
from tests.brokers import until
from tests.pipeline.test_street import Film, MemoryBackend, detect

CHOSEN = {"door": "faces", "yard": "cars", "gate": "cars"}


class NamingSink:
    def __init__(self) -> None:
        self.received: list[tuple[str, int, int]] = []

    def put(self, detections: Detections, *, wait: bool) -> None:
        info = detections.info
        self.received.append((info.camera_id, info.frame_id, int(detections.class_id[0])))


def make_street(
    backends: dict[str, MemoryBackend],
    count: int,
    cameras: Sequence[str] = tuple(CHOSEN),
    sink: NamingSink | None = None,
) -> tuple[Street, NamingSink, Statistics, dict[str, FrameLanes]]:
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
    sink = sink or NamingSink()
    street = Street(
        cameras=Film(router, cameras, count),
        live=frozenset(),
        models=[Model(lanes[name], backend, detect, 0.002, name) for name, backend in backends.items()],
        sink=sink,
        statistics=statistics,
    )
    return street, sink, statistics, lanes


def test_each_camera_goes_through_its_own_model_and_every_frame_arrives() -> None:
    backends = {"faces": MemoryBackend(), "cars": MemoryBackend()}
    street, sink, statistics, _ = make_street(backends, 50)
    street.run(threading.Event())
    for camera in CHOSEN:
        assert [number for name, number, _ in sink.received if name == camera] == list(range(50))
    assert sum(backends["faces"].batches) == 50
    assert sum(backends["cars"].batches) == 100
    assert all(counts.processed == 50 for counts in statistics.counts().values())
    assert all(backend.slots.qsize() == 2 for backend in backends.values())


def test_a_model_that_fails_ends_all_of_them_and_is_named() -> None:
    backends = {"faces": MemoryBackend(fail_on=7), "cars": MemoryBackend()}
    street, *_ = make_street(backends, 1_000_000)
    with pytest.raises(
        StageFailedError, match="stage 'feeder faces' failed: RuntimeError: the device is gone"
    ):
        street.run(threading.Event())
    assert all(backend.slots.qsize() == 2 for backend in backends.values())


class HeldSink(NamingSink):
    """Takes a camera's first detections only when it may."""

    def __init__(self, camera: str) -> None:
        super().__init__()
        self._camera = camera
        self.holds, self.go_on = threading.Event(), threading.Event()

    def put(self, detections: Detections, *, wait: bool) -> None:
        if detections.info.camera_id == self._camera:
            self.holds.set()
            assert self.go_on.wait(20)
        super().put(detections, wait=wait)


def test_a_model_whose_last_frames_take_long_works_again_when_they_are_done() -> None:
    """Its only film has ended, and the next one comes while what was made of it is still on its way."""
    backends = {"faces": MemoryBackend(), "cars": MemoryBackend()}
    sink = HeldSink("door")
    street, _, _, lanes = make_street(backends, 1, ["door"], sink)
    stop = threading.Event()
    running = threading.Thread(target=street.run, args=(stop,), daemon=True)
    running.start()
    assert sink.holds.wait(10)
    until(lambda: not street_threads("feeder faces"), "its feeder has ended")
    lanes["faces"].add("door", live=False)
    began_s = time.monotonic()
    street.revive()
    assert time.monotonic() - began_s < 1, "nobody waits for it"
    again = Film(lanes["faces"], ["door"], 5)
    again.start()
    feeder = next(part for part in street.parts() if part.name == "feeder faces")
    until(lambda: lanes["faces"].ready, "frames wait")
    assert not feeder.look().work, "for what hangs, if anything does, is postprocess"
    sink.go_on.set()
    until(lambda: len(sink.received) == 6, "all frames go through")
    stop.set()
    running.join(10)
    assert [number for _, number, _ in sink.received] == [0, 0, 1, 2, 3, 4]


def test_a_model_works_again_as_often_as_it_gets_a_camera() -> None:
    backends = {"faces": MemoryBackend(), "cars": MemoryBackend()}
    street, sink, _, lanes = make_street(backends, 3, ["door"])
    stop = threading.Event()
    running = threading.Thread(target=street.run, args=(stop,), daemon=True)
    running.start()
    for turn in range(1, 30):
        until(lambda count=3 * turn: len(sink.received) == count, "all frames go through")  # type: ignore[misc]
        lanes["faces"].add("door", live=False)
        Film(lanes["faces"], ["door"], 3).start()
        street.revive()
    stop.set()
    running.join(10)
    assert not running.is_alive()


def test_a_street_whose_new_camera_had_no_frames_ends() -> None:
    """It may have ended before its model was begun again."""
    backends = {"faces": MemoryBackend(), "cars": MemoryBackend()}
    street, sink, _, lanes = make_street(backends, 3, ["door"])
    running = threading.Thread(target=street.run, args=(threading.Event(),), daemon=True)
    running.start()
    until(lambda: len(sink.received) == 3 and not street_threads("postprocess faces"), "it has ended")
    lanes["faces"].add("door", live=False)
    for camera in ("yard", "gate"):
        lanes["cars"].finish(camera)
    until(lambda: not street_threads("postprocess cars"), "the other one too")
    lanes["faces"].finish("door")
    street.revive()
    running.join(10)
    assert not running.is_alive()


def test_a_model_that_begins_again_while_it_is_asked_is_not_over(monkeypatch: pytest.MonkeyPatch) -> None:
    backends = {"faces": MemoryBackend(), "cars": MemoryBackend()}
    street, _, _, lanes = make_street(backends, 3, ["door"])
    stop = threading.Event()
    running = threading.Thread(target=street.run, args=(stop,), daemon=True)
    running.start()
    walk = street._walks[0]
    until(lambda: walk.over, "it has ended")
    lanes["faces"].add("door", live=False)
    reviving = threading.Thread(target=walk.revive)
    must_reopen = vars(FrameLanes)["must_reopen"].fget

    def meanwhile(asked: FrameLanes) -> bool:
        if not reviving.ident and threading.current_thread() is threading.main_thread():
            reviving.start()
            reviving.join(1.0)  # long enough, if nothing holds it up
        return bool(must_reopen(asked))

    monkeypatch.setattr(FrameLanes, "must_reopen", property(meanwhile))
    assert not walk.over
    reviving.join(10)
    assert not walk.ended
    stop.set()
    running.join(10)


def street_threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_a_camera_away_does_not_hold_up_those_of_another_model() -> None:
    backends = {"faces": MemoryBackend(), "cars": MemoryBackend()}
    street, sink, *_ = make_street(backends, 20, ["yard", "gate"])
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    street.run(stop)
    assert {name for name, _, _ in sink.received} == {"yard", "gate"}
    assert len(sink.received) == 40
