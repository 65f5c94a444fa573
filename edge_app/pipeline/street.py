"""The street itself: capture, feeder, postprocess, and what starts, watches and ends them."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_app.errors import ChannelClosed, StageFailedError
from edge_app.interfaces import Backend, DetectionsSink, Pending
from edge_app.messages import Candidates, Detections, Frame, FrameInfo, Timings
from edge_app.pipeline.lanes import FrameLanes
from edge_app.pipeline.stage import Stage
from edge_app.pipeline.statistics import Statistics

logger = logging.getLogger(__name__)

BATCH_TIMEOUT_S = 60.0
"""A batch that takes longer than this has failed: the device hangs."""

POLL_S = 0.25
"""How soon a waiting feeder notices that the street is being closed."""


class Cameras(Protocol):
    """The capture side, as the street sees it."""

    def start(self) -> None:
        """Start to put frames into the lanes."""

    def stop(self, timeout_s: float) -> None:
        """Stop; return within `timeout_s` seconds even if a camera hangs."""


Detect = Callable[[FrameInfo, Candidates, Timings], Detections]
"""Non-maximum suppression and the way back to image pixels; called on one thread."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A batch on its way through the model, with what is known of its frames."""

    pending: Pending
    frames: tuple[FrameInfo, ...]
    taken_ns: int
    """`time.monotonic_ns()` when the frames were taken from their lanes."""


class Street:
    """Walks frames from the lanes through the model to the sink.

    `run` blocks until it is told to stop, every camera has finished, or a stage failed.

    Args:
        cameras: Puts frames into `lanes`.
        live: Cameras whose detections may be dropped when the sink's lane is full.
        lanes: Where capture and feeder meet.
        backend: The model, open.
        detect: Candidates of one frame to its detections.
        sink: Where detections go.
        statistics: Counts processed frames.
        batch_wait_s: Longest wait for frames of more cameras, in seconds.
    """

    def __init__(
        self,
        *,
        cameras: Cameras,
        live: frozenset[str],
        lanes: FrameLanes,
        backend: Backend,
        detect: Detect,
        sink: DetectionsSink,
        statistics: Statistics,
        batch_wait_s: float,
    ) -> None:
        self._cameras = cameras
        self._live = live
        self._lanes = lanes
        self._backend = backend
        self._detect = detect
        self._sink = sink
        self._statistics = statistics
        self._batch_wait_s = batch_wait_s
        # Slots bound what is in flight. None: there will be no more.
        self._in_flight: queue.SimpleQueue[InFlight | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._failure: StageFailedError | None = None
        self._stages = [
            Stage("feeder", self._feed, self._fail, on_end=lambda: self._in_flight.put(None)),
            Stage("postprocess", self._postprocess, self._fail, on_end=self._ended.set),
        ]

    def run(self, stop: threading.Event, *, stop_timeout_s: float = 3.0) -> None:
        """Run until `stop` is set or there is nothing more to do.

        Raises:
            StageFailedError: A stage failed; its cause is chained.
        """
        for stage in self._stages:
            stage.start()
        self._cameras.start()
        while not self._ended.wait(POLL_S) and not stop.is_set():
            pass
        self._shut_down(stop_timeout_s)
        if self._failure is not None:
            raise self._failure from self._failure.__cause__

    def fail(self, stage: str, cause: BaseException) -> None:
        """Report the failure of a stage outside the street, such as the publisher."""
        self._fail(stage, cause)

    def _shut_down(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        self._lanes.close()
        self._cameras.stop(max(0.1, timeout_s / 2))
        for stage in self._stages:
            stage.join(max(0.1, deadline - time.monotonic()))
            if stage.is_alive():
                logger.warning("stage %s did not end within %.1f s and is left behind", stage.name, timeout_s)

    def _fail(self, stage: str, cause: BaseException) -> None:
        if self._failure is None:
            self._failure = _named(stage, cause)
        self._lanes.close()
        self._in_flight.put(None)
        self._ended.set()

    def _feed(self) -> None:
        while True:
            slot = self._backend.acquire(POLL_S)
            if slot is None:
                if self._lanes.closed:
                    return
                continue
            try:
                frames: list[Frame] = []
                while not frames:
                    frames = self._lanes.take(
                        self._backend.max_batch, timeout_s=POLL_S, straggler_wait_s=self._batch_wait_s
                    )
            except ChannelClosed:
                self._backend.release(slot)
                raise
            taken_ns = time.monotonic_ns()
            infos = tuple(frame.info for frame in frames)
            self._in_flight.put(InFlight(self._backend.submit(slot, frames), infos, taken_ns))

    def _postprocess(self) -> None:
        while (batch := self._in_flight.get()) is not None:
            for detections in self._finish(batch):
                self._statistics.processed(detections.info.camera_id)
                self._sink.put(detections, wait=detections.info.camera_id not in self._live)

    def _finish(self, batch: InFlight) -> Sequence[Detections]:
        """Wait for a batch and return the detections of its frames; the slot is free afterwards."""
        finished = []
        with batch.pending.result(BATCH_TIMEOUT_S) as result:
            decode_ms = result.timings.decode_ms / len(batch.frames)
            for info, candidates in zip(batch.frames, result.candidates, strict=True):
                timings = Timings(
                    capture_ms=info.capture_ms,
                    waiting_ms=(batch.taken_ns - info.captured_ns) / 1e6,
                    preprocess_ms=result.timings.preprocess_ms,
                    inference_ms=result.timings.inference_ms,
                    postprocess_ms=decode_ms,
                )
                finished.append(self._detect(info, candidates, timings))
                self._statistics.left_out(
                    info.camera_id, invalid=candidates.invalid, overflow=candidates.overflow
                )
        return finished


def _named(stage: str, cause: BaseException) -> StageFailedError:
    """Return the failure with its stage's name, unless that is said already."""
    if isinstance(cause, StageFailedError):
        return cause
    failure = StageFailedError(stage, cause)
    failure.__cause__ = cause
    return failure
