"""The street: frames walk through it, failures end it with the stage's name, nothing is leaked."""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from edge_app.errors import ChannelClosed, StageFailedError
from edge_app.geometry import InputSpec
from edge_app.interfaces import BatchResult, BatchTimings, FrameSink, Pending, Slot
from edge_app.messages import Candidates, Detections, DropReason, Frame, FrameInfo, ModelInfo, Timings
from edge_app.pipeline import street
from edge_app.pipeline.lanes import FrameLanes
from edge_app.pipeline.statistics import Statistics
from edge_app.pipeline.street import BATCH_TIMEOUT_S, DEADLINE_S, Model, Street
from tests.brokers import until


class MemoryBackend:
    """A Backend whose model answers each frame with one box whose class is the frame's number."""

    def __init__(self, *, slots: int = 2, fail_on: int | None = None) -> None:
        self.slots: queue.SimpleQueue[object] = queue.SimpleQueue()
        for _ in range(slots):
            self.slots.put(object())
        self.model = ModelInfo("memory", "0" * 64, ("thing",), "memory", "fp32")
        self.input_spec = InputSpec(32, 32)
        self.max_batch = 4
        self.slot_count = 2
        self.description = "in memory"
        self.batches: list[int] = []
        self.fail_on = fail_on
        self.takes_s = 0.0

    def open(self) -> None: ...

    def close(self) -> None: ...

    def acquire(self, timeout_s: float) -> Slot | None:
        try:
            return self.slots.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def release(self, slot: Slot) -> None:
        self.slots.put(slot)

    def submit(self, slot: Slot, frames: Sequence[Frame]) -> Pending:
        self.batches.append(len(frames))
        for frame in frames:
            frame.release()
        if any(frame.info.frame_id == self.fail_on for frame in frames):
            self.release(slot)
            raise RuntimeError("the device is gone")
        return MemoryPending(self, slot, [frame.info.frame_id for frame in frames])


class MemoryPending:
    def __init__(self, backend: MemoryBackend, slot: Slot, numbers: list[int]) -> None:
        self.backend, self.slot, self.numbers = backend, slot, numbers

    @contextmanager
    def result(self, timeout_s: float) -> Iterator[BatchResult]:
        try:
            time.sleep(self.backend.takes_s)
            candidates = [
                Candidates(
                    np.array([[1, 2, 3, 4]], np.float32),
                    np.ones(1, np.float32),
                    np.array([number], np.int32),
                    overflow=1,
                    invalid=2,
                )
                for number in self.numbers
            ]
            yield BatchResult(candidates, BatchTimings(1.0, 2.0, 3.0))
        finally:
            self.backend.release(self.slot)


class Film:
    """Cameras that put `count` frames each and finish."""

    def __init__(self, lanes: FrameSink, cameras: Sequence[str], count: int) -> None:
        self.lanes, self.count = lanes, count
        self.threads = [threading.Thread(target=self.play, args=(camera,)) for camera in cameras]
        self.stopped = False

    def play(self, camera_id: str) -> None:
        try:
            for number in range(self.count):
                info = FrameInfo(camera_id, number, time.monotonic_ns(), time.time_ns(), 64, 48)
                self.lanes.put(Frame(info, np.zeros((48, 64, 3), np.uint8)))
            self.lanes.finish(camera_id)
        except ChannelClosed:
            pass

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self, timeout_s: float) -> None:
        self.stopped = True
        for thread in self.threads:
            thread.join(timeout_s)


class CollectingSink:
    def __init__(self) -> None:
        self.received: list[tuple[str, int, int, bool]] = []

    def put(self, detections: Detections, *, wait: bool) -> None:
        info = detections.info
        self.received.append((info.camera_id, info.frame_id, int(detections.class_id[0]), wait))


def detect(info: FrameInfo, candidates: Candidates, timings: Timings) -> Detections:
    return Detections(info, candidates.xyxy, candidates.confidence, candidates.class_id, timings=timings)


class Harness:
    def __init__(self, cameras: dict[str, int], *, live: bool = False, fail_on: int | None = None) -> None:
        self.statistics = Statistics(cameras)
        self.lanes = FrameLanes(
            dict.fromkeys(cameras, live), max_age_s=60, counts=self.statistics, clock=time.monotonic
        )
        self.backend = MemoryBackend(fail_on=fail_on)
        self.film = Film(self.lanes, list(cameras), max(cameras.values()))
        self.sink = CollectingSink()
        self.detect = detect
        self.stop = threading.Event()

    def run(self) -> None:
        self.street = Street(
            cameras=self.film,
            live=frozenset(),
            models=[Model(self.lanes, self.backend, self.detect, batch_wait_s=0.002)],
            sink=self.sink,
            statistics=self.statistics,
        )
        self.street.run(self.stop)


def test_every_frame_of_every_file_arrives_in_order_and_the_street_ends_by_itself() -> None:
    harness = Harness({"a": 40, "b": 40})
    harness.run()
    for camera_id in "ab":
        own = [entry for entry in harness.sink.received if entry[0] == camera_id]
        assert [(number, label) for _, number, label, _ in own] == [(n, n) for n in range(40)]
    assert all(wait for *_, wait in harness.sink.received)
    assert harness.film.stopped
    assert harness.backend.slots.qsize() == 2
    counts = harness.statistics.counts()
    assert {camera: found.processed for camera, found in counts.items()} == {"a": 40, "b": 40}
    assert (counts["a"].candidates_overflow, counts["a"].candidates_invalid) == (40, 80)


def test_frames_of_several_cameras_share_a_batch() -> None:
    harness = Harness({"a": 50, "b": 50, "c": 50})
    harness.run()
    assert sum(harness.backend.batches) == 150
    assert max(harness.backend.batches) > 1
    assert max(harness.backend.batches) <= 3


def test_a_failing_feeder_ends_the_street_with_its_name_and_cause() -> None:
    harness = Harness({"a": 40}, fail_on=7)
    with pytest.raises(
        StageFailedError, match="stage 'feeder' failed: RuntimeError: the device is gone"
    ) as raised:
        harness.run()
    assert isinstance(raised.value.__cause__, RuntimeError)
    assert harness.film.stopped
    assert harness.backend.slots.qsize() == 2


def test_a_failing_postprocess_returns_the_slots_and_stops_the_cameras() -> None:
    harness = Harness({"a": 40})

    def broken(info: FrameInfo, candidates: Candidates, timings: Timings) -> Detections:
        raise ZeroDivisionError("boxes")

    harness.detect = broken
    with pytest.raises(StageFailedError, match="stage 'postprocess' failed: ZeroDivisionError: boxes"):
        harness.run()
    assert harness.backend.slots.qsize() == 2
    assert harness.film.stopped
    assert not any(thread.is_alive() for thread in harness.film.threads)


class Held:
    """Postprocess of a street that runs, which waits until `go`."""

    def __init__(self, harness: Harness) -> None:
        self.harness, self.go = harness, threading.Event()
        harness.detect = self._detect
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _detect(self, info: FrameInfo, candidates: Candidates, timings: Timings) -> Detections:
        self.go.wait(30)
        return detect(info, candidates, timings)

    def _run(self) -> None:
        with suppress(StageFailedError):
            self.harness.run()

    def end(self) -> None:
        self.go.set()
        self._thread.join()


def no_feeder() -> bool:
    return not any(thread.name == "feeder" for thread in threading.enumerate())


def test_a_feeder_that_has_fed_everything_is_not_missed_while_batches_are_in_flight() -> None:
    harness = Harness({"a": 2})
    harness.backend.release(object())  # one more slot than batches: the feeder sees that there is no more
    held = Held(harness)
    try:
        until(lambda: harness.backend.batches and no_feeder(), "the film ended")
        assert harness.street.ended_stages() == []
        assert not harness.sink.received
    finally:
        held.end()
    assert len(harness.sink.received) == 2
    assert harness.street.ended_stages() == []


def test_a_feeder_that_failed_is_missed() -> None:
    held = Held(Harness({"a": 40}, fail_on=1))
    try:
        until(lambda: held.harness.street.ended_stages() == ["feeder"], "it is missed")
    finally:
        held.end()


def test_the_deadline_follows_the_slowest_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(street, "DEADLINE_S", 0.5)
    harness = Harness({"a": 4})
    harness.backend.takes_s = 0.1
    held = Held(harness)
    until(lambda: harness.backend.batches, "it runs")
    assert harness.street.deadlines_s() == {"": 60.0}, "no batch is known yet"
    held.end()
    (deadline_s,) = harness.street.deadlines_s().values()
    assert 20 * 0.09 <= deadline_s < 60


def test_a_failure_outside_ends_the_street_too() -> None:
    harness = Harness({"a": 1_000_000})
    threading.Timer(0.2, lambda: harness.street.fail("publisher", OSError("disk"))).start()
    with pytest.raises(StageFailedError, match="stage 'publisher' failed: OSError: disk"):
        harness.run()


def test_a_stage_outside_that_names_its_own_part_is_not_named_twice() -> None:
    harness = Harness({"a": 1_000_000})
    failure = StageFailedError("publish", OSError("disk"))
    threading.Timer(0.2, lambda: harness.street.fail("publisher", failure)).start()
    with pytest.raises(StageFailedError, match=r"^stage 'publish' failed: OSError: disk$"):
        harness.run()


def test_stop_ends_the_street_in_the_middle_of_a_file() -> None:
    harness = Harness({"a": 1_000_000})
    threading.Timer(0.2, harness.stop.set).start()
    harness.run()
    numbers = [number for _, number, _, _ in harness.sink.received]
    assert numbers == list(range(len(numbers)))
    assert 0 < len(numbers) < 1_000_000
    assert harness.backend.slots.qsize() == 2
    counts = harness.statistics.counts()["a"]
    assert counts.captured == counts.processed + counts.dropped[DropReason.SHUTDOWN]


def test_one_slow_batch_is_forgotten() -> None:
    """What a swap storm took once is not what a batch may take for the months to come."""
    harness = Harness({"a": 400})
    harness.street = Street(
        cameras=harness.film,
        live=frozenset(),
        models=[Model(harness.lanes, harness.backend, harness.detect, batch_wait_s=0.0)],
        sink=harness.sink,
        statistics=harness.statistics,
    )
    (part,) = (part for part in harness.street.parts() if part.name == "inference")
    harness.street._walks[0]._slowest_s = 3.0
    assert part.deadline_s() == BATCH_TIMEOUT_S
    harness.street.run(harness.stop)
    assert harness.street._walks[0].finished >= 300
    assert part.deadline_s() == DEADLINE_S
