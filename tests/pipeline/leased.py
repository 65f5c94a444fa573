"""A street whose frames lie in borrowed memory, so that what is not given back is seen."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge_app.errors import ChannelClosed
from edge_app.interfaces import Backend
from edge_app.messages import Candidates, Detections, Frame, FrameInfo, Timings
from edge_app.pipeline.lanes import FrameLanes
from edge_app.pipeline.statistics import Statistics
from edge_app.pipeline.street import Model, Street

CAMERA = "film"


class CountingLease:
    """Borrowed memory that counts how often it is given back."""

    def __init__(self, *, pinned: bool) -> None:
        self.pinned = pinned
        self.released = 0

    def release(self) -> None:
        self.released += 1


class LeasedFilm:
    """A file of `count` frames in borrowed memory.

    Args:
        lanes: Where they go.
        count: How many.
        make_frame: Makes the frame of a number; its lease is a `CountingLease`.
    """

    def __init__(self, lanes: FrameLanes, count: int, make_frame: Callable[[int], Frame]) -> None:
        self.lanes, self.count, self.make_frame = lanes, count, make_frame
        self.leases: list[CountingLease] = []
        self.thread = threading.Thread(target=self.play, daemon=True)

    def play(self) -> None:
        try:
            for number in range(self.count):
                frame = self.make_frame(number)
                assert isinstance(frame.lease, CountingLease)
                self.leases.append(frame.lease)
                self.lanes.put(frame)
            self.lanes.finish(CAMERA)
        except ChannelClosed:
            pass

    def start(self) -> None:
        self.thread.start()

    def stop(self, timeout_s: float) -> None:
        self.thread.join(timeout_s)

    def not_given_back_once(self) -> list[int]:
        """The numbers of the frames whose memory was not given back, or more than once."""
        return [number for number, lease in enumerate(self.leases) if lease.released != 1]


class CollectingSink:
    """Keeps the numbers of the frames whose detections came."""

    def __init__(self) -> None:
        self.received: list[int] = []

    def put(self, detections: Detections, *, wait: bool) -> None:
        self.received.append(detections.info.frame_id)


def detect(info: FrameInfo, candidates: Candidates, timings: Timings) -> Detections:
    return Detections(info, candidates.xyxy, candidates.confidence, candidates.class_id, timings=timings)


class LeasedStreet:
    """A street from one film to a sink.

    Args:
        backend: Its model, open.
        count: How many frames the film has.
        make_frame: See `LeasedFilm`.
    """

    def __init__(self, backend: Backend, count: int, make_frame: Callable[[int], Frame]) -> None:
        self.statistics = Statistics([CAMERA])
        lanes = FrameLanes({CAMERA: False}, max_age_s=60, counts=self.statistics)
        self.film = LeasedFilm(lanes, count, make_frame)
        self.sink = CollectingSink()
        self.street = Street(
            cameras=self.film,
            live=frozenset(),
            models=[Model(lanes, backend, detect, batch_wait_s=0.002)],
            sink=self.sink,
            statistics=self.statistics,
        )

    def run(self) -> None:
        self.street.run(threading.Event())
