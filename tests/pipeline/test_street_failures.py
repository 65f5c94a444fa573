"""What a failing street gives back: every slot, and the memory of every frame, once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from edge_app.errors import BackendError, StageFailedError
from edge_app.interfaces import BatchResult, BatchTimings, Pending, Slot
from edge_app.messages import Candidates, Frame, FrameInfo
from tests.pipeline.leased import CAMERA, CountingLease, LeasedStreet
from tests.pipeline.test_street import MemoryBackend

SLOTS = 2


def make_frame(number: int) -> Frame:
    info = FrameInfo(CAMERA, number, time.monotonic_ns(), time.time_ns(), 4, 2)
    return Frame(info, np.zeros((2, 4, 3), np.uint8), lease=CountingLease(pinned=True))


class HoldingBackend(MemoryBackend):
    """Keeps its frames until their batch is done, as a GPU keeps page-locked ones.

    Args:
        refuses: Number of a frame whose batch cannot be enqueued.
        fails: Number of a frame whose batch fails on the device.
        fails_with: How many batches must have been enqueued before that one fails.
    """

    def __init__(self, *, refuses: int | None = None, fails: int | None = None, fails_with: int = 0) -> None:
        super().__init__(slots=SLOTS)
        self.refuses, self.fails, self.fails_with = refuses, fails, fails_with
        self.enqueued = threading.Semaphore(0)

    def submit(self, slot: Slot, frames: Sequence[Frame]) -> Pending:
        if any(frame.info.frame_id == self.refuses for frame in frames):
            give_back(frames)
            self.release(slot)
            raise BackendError("a CUDA graph cannot be launched")
        self.batches.append(len(frames))
        self.enqueued.release()
        return HoldingPending(self, slot, frames)


class HoldingPending:
    def __init__(self, backend: HoldingBackend, slot: Slot, frames: Sequence[Frame]) -> None:
        self.backend, self.slot, self.frames = backend, slot, frames

    @contextmanager
    def result(self, timeout_s: float) -> Iterator[BatchResult]:
        try:
            if any(frame.info.frame_id == self.backend.fails for frame in self.frames):
                for _ in range(self.backend.fails_with):
                    assert self.backend.enqueued.acquire(timeout=30)
                raise BackendError("the GPU failed")
            nothing = Candidates(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
            yield BatchResult([nothing] * len(self.frames), BatchTimings(1.0, 2.0, 3.0))
        finally:
            give_back(self.frames)
            self.backend.release(self.slot)


def give_back(frames: Sequence[Frame]) -> None:
    for frame in frames:
        frame.release()


def test_a_street_that_does_not_fail_gives_everything_back() -> None:
    backend = HoldingBackend()
    street = LeasedStreet(backend, 40, make_frame)
    street.run()
    assert street.sink.received == list(range(40))
    assert street.film.not_given_back_once() == []
    assert backend.slots.qsize() == SLOTS


def test_a_batch_that_cannot_be_enqueued_gives_everything_back() -> None:
    backend = HoldingBackend(refuses=7)
    street = LeasedStreet(backend, 1000, make_frame)
    with pytest.raises(
        StageFailedError, match=r"^stage 'feeder' failed: BackendError: a CUDA graph cannot be launched$"
    ) as raised:
        street.run()
    assert (raised.value.stage, type(raised.value.__cause__)) == ("feeder", BackendError)
    # What was enqueued before it is finished.
    assert street.sink.received == list(range(7))
    assert street.film.not_given_back_once() == []
    assert backend.slots.qsize() == SLOTS


def test_a_batch_that_fails_on_the_device_gives_everything_back() -> None:
    # The film ends with this frame: no batch is behind it.
    backend = HoldingBackend(fails=7)
    street = LeasedStreet(backend, 8, make_frame)
    with pytest.raises(
        StageFailedError, match=r"^stage 'postprocess' failed: BackendError: the GPU failed$"
    ) as raised:
        street.run()
    assert (raised.value.stage, type(raised.value.__cause__)) == ("postprocess", BackendError)
    assert street.sink.received == list(range(7))
    assert street.film.not_given_back_once() == []
    assert backend.slots.qsize() == SLOTS


def test_batches_behind_one_that_fails_on_the_device_are_given_back_too() -> None:
    backend = HoldingBackend(fails=0, fails_with=SLOTS)
    street = LeasedStreet(backend, 1000, make_frame)
    with pytest.raises(StageFailedError, match="stage 'postprocess' failed"):
        street.run()
    assert street.film.not_given_back_once() == []
    assert backend.slots.qsize() == SLOTS
