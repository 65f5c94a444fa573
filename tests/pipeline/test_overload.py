"""Cameras that send twice as much as the model can take: each gets its share, and each frame is counted."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from edge_app.errors import ChannelClosed
from edge_app.interfaces import BatchResult, Pending, Slot
from edge_app.messages import DropReason, Frame, FrameInfo
from edge_app.pipeline.lanes import FrameLanes
from edge_app.pipeline.statistics import CameraCounts, Statistics
from edge_app.pipeline.street import Model, Street
from tests.pipeline.test_lanes import Clock
from tests.pipeline.test_street import CollectingSink, MemoryBackend, MemoryPending, detect

CAMERAS = tuple(f"camera{number}" for number in range(8))
FPS = 25.0
SERVED_PER_S = len(CAMERAS) * FPS / 2
SECONDS = 20.0
ROUNDS = 200
"""So often every camera sends a frame, and a batch for half of them is done."""


def make_frame(camera_id: str, number: int, captured_ns: int) -> Frame:
    return Frame(FrameInfo(camera_id, number, captured_ns, 0, 4, 2), np.zeros((2, 4, 3), np.uint8))


def spread(counts: Mapping[str, CameraCounts]) -> float:
    """How far the most served camera is from the least served, as a part of the mean."""
    processed = [found.processed for found in counts.values()]
    return (max(processed) - min(processed)) / (sum(processed) / len(processed))


def served_part(counts: Mapping[str, CameraCounts]) -> float:
    return sum(found.processed for found in counts.values()) / sum(
        found.captured for found in counts.values()
    )


def arrivals(phase: str) -> list[tuple[float, str]]:
    """When which camera sends: at once in this order, evenly spread, or with jitter of half a period."""
    noise = random.Random(1)
    sent = []
    for turn, camera_id in enumerate(CAMERAS):
        for number in range(int(SECONDS * FPS)):
            late = {"at once": 0.0, "spread": turn / len(CAMERAS), "jitter": noise.random() / 2}[phase]
            sent.append(((number + late) / FPS, camera_id))
    return sorted(sent)


@pytest.mark.parametrize("phase", ["at once", "spread", "jitter"])
@pytest.mark.parametrize("max_batch", [1, 3, 4, 8, 16])
def test_lanes_give_each_camera_its_share_of_half(max_batch: int, phase: str) -> None:
    clock = Clock()
    start_s = clock.now_s
    statistics = Statistics(CAMERAS, clock=clock)
    lanes = FrameLanes(dict.fromkeys(CAMERAS, True), max_age_s=0.5, counts=statistics, clock=clock)
    taken_at_s = 0.0
    # A batch of few cameras is done the sooner: so many frames a second, however they come.
    for number, (now_s, camera_id) in enumerate(arrivals(phase)):
        while taken_at_s <= now_s:
            clock.now_s = start_s + taken_at_s
            frames = lanes.take(max_batch, timeout_s=0, straggler_wait_s=0)
            for frame in frames:
                statistics.processed(frame.info.camera_id)
            taken_at_s += max(1, len(frames)) / SERVED_PER_S
        clock.now_s = start_s + now_s
        lanes.put(make_frame(camera_id, number, int(clock.now_s * 1e9)))
    counts = statistics.counts()
    assert spread(counts) <= 0.1
    assert served_part(counts) == pytest.approx(0.5, abs=0.02)
    for found in counts.values():
        assert set(found.dropped) == {DropReason.SUPERSEDED}
        waiting = found.captured - found.processed - found.dropped[DropReason.SUPERSEDED]
        assert 0 <= waiting <= 1


class Crowd:
    """Live cameras, all of which send a frame when they are told to."""

    def __init__(self, lanes: FrameLanes) -> None:
        self.lanes = lanes
        self.sent = 0

    def start(self) -> None:
        self.send()

    def send(self) -> None:
        with suppress(ChannelClosed):
            for camera_id in CAMERAS:
                self.lanes.put(make_frame(camera_id, self.sent, time.monotonic_ns()))
        self.sent += 1

    def stop(self, timeout_s: float) -> None: ...


class SlowBackend(MemoryBackend):
    """While it finishes a batch for half of the cameras, every camera sends a frame.

    That makes the load the same on every machine, however busy: no clock tells when a frame comes. There is
    one slot, as two batches in turn would be all cameras, served alike in whatever order.
    """

    def __init__(self, crowd: Crowd, stop: threading.Event) -> None:
        super().__init__(slots=1)
        assert self.max_batch == len(CAMERAS) / 2
        self.crowd, self.stop = crowd, stop

    def submit(self, slot: Slot, frames: Sequence[Frame]) -> Pending:
        pending = super().submit(slot, frames)
        assert isinstance(pending, MemoryPending)
        return SlowPending(self, slot, pending.numbers)


class SlowPending(MemoryPending):
    @contextmanager
    def result(self, timeout_s: float) -> Iterator[BatchResult]:
        assert isinstance(self.backend, SlowBackend)
        if self.backend.crowd.sent < ROUNDS:
            self.backend.crowd.send()
        else:
            self.backend.stop.set()
        with super().result(timeout_s) as result:
            yield result


def test_the_street_gives_each_camera_its_share_of_half_and_loses_nothing() -> None:
    statistics, stop = Statistics(CAMERAS), threading.Event()
    lanes = FrameLanes(dict.fromkeys(CAMERAS, True), max_age_s=60, counts=statistics)
    crowd, sink = Crowd(lanes), CollectingSink()
    street = Street(
        cameras=crowd,
        live=frozenset(CAMERAS),
        models=[Model(lanes, SlowBackend(crowd, stop), detect, batch_wait_s=0.002)],
        sink=sink,
        statistics=statistics,
    )
    street.run(stop)
    counts = statistics.counts()
    assert spread(counts) <= 0.1
    assert served_part(counts) == pytest.approx(0.5, abs=0.05)
    assert len(sink.received) == sum(found.processed for found in counts.values())
    for found in counts.values():
        assert found.captured == ROUNDS
        assert set(found.dropped) <= {DropReason.SUPERSEDED, DropReason.SHUTDOWN}
        assert found.dropped[DropReason.SUPERSEDED] >= 0.4 * ROUNDS
        assert found.dropped.get(DropReason.SHUTDOWN, 0) <= 1
        assert found.captured == found.processed + found.dropped_frames
