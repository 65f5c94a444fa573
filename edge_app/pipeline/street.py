"""The street itself: capture, feeder, postprocess, and what starts, watches and ends them."""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from edge_app.errors import ChannelClosed, StageFailedError
from edge_app.interfaces import Backend, DetectionsSink, Pending
from edge_app.messages import Candidates, Detections, Frame, FrameInfo, Timings
from edge_app.ops.progress import Part, Sign
from edge_app.pipeline.lanes import FrameLanes
from edge_app.pipeline.stage import OnFailure, Stage
from edge_app.pipeline.statistics import Statistics

logger = logging.getLogger(__name__)

BATCH_TIMEOUT_S = 60.0
"""A batch that takes longer than this has failed: the device hangs."""

DEADLINE_S = 9.0
"""A stage that has work and does none of it for so long hangs."""

USUAL_BATCHES = 20
"""A batch may take so many times as long as the slowest of late, on a machine where that is more."""

FORGETTING = 0.99
"""With each batch what the slowest one took counts for so much of it: after 70 batches for half."""

POLL_S = 0.25
"""How soon a waiting feeder notices that the street is being closed."""

GIVE_BACK_S = 1.0
"""How long is waited for batches behind one that failed."""

SWITCH_INTERVAL_S = 0.5e-3
"""How long one thread may keep the interpreter's lock while others wait for it."""


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


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """How many batches a model got since the start, and how many of them have been through postprocess."""

    submitted: int = 0
    finished: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """A model with its cameras' lanes.

    Attributes:
        lanes: Where its cameras and its feeder meet.
        backend: What runs it, open.
        detect: Candidates of one frame to its detections.
        batch_wait_s: Longest wait for frames of more cameras, in seconds.
        name: Tells its stages from those of others; empty for one of them.
    """

    lanes: FrameLanes
    backend: Backend
    detect: Detect
    batch_wait_s: float
    name: str = ""


class Street:
    """Walks frames from the lanes through their models to the sink.

    `run` blocks until it is told to stop, every camera has finished, or a stage failed.

    Args:
        cameras: Puts frames into the lanes.
        live: Cameras whose detections may be dropped when the sink's lane is full; asked for each frame.
        models: Each has a feeder and a postprocess stage of its own.
        sink: Where detections go; called by every postprocess stage.
        statistics: Counts processed frames.
    """

    def __init__(
        self,
        *,
        cameras: Cameras,
        live: AbstractSet[str],
        models: Sequence[Model],
        sink: DetectionsSink,
        statistics: Statistics,
    ) -> None:
        self._cameras = cameras
        self._ended = threading.Event()
        self._failure: StageFailedError | None = None
        self._walks = [_Walk(model, live, sink, statistics, self._fail, self._walk_ended) for model in models]

    def run(self, stop: threading.Event, *, stop_timeout_s: float = 3.0) -> None:
        """Run until `stop` is set or there is nothing more to do.

        Raises:
            StageFailedError: A stage failed; its cause is chained.
        """
        # The interpreter's own 5 ms are longer than a batch takes.
        usual_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            for stage in self._stages():
                stage.start()
            self._cameras.start()
            while not self._ended.wait(POLL_S) and not stop.is_set():
                pass
            self._shut_down(stop_timeout_s)
        finally:
            sys.setswitchinterval(usual_s)
        if self._failure is not None:
            raise self._failure from self._failure.__cause__

    def batches(self) -> dict[str, BatchCounts]:
        """Return how many batches each model got, by its name."""
        return {walk.name: BatchCounts(walk.submitted, walk.finished) for walk in self._walks}

    def ended_stages(self) -> list[str]:
        """Return the names of the stages whose threads have ended otherwise than for want of frames."""
        begun = [stage for stage in self._stages() if stage.ident is not None]
        return [stage.name for stage in begun if not (stage.through or stage.is_alive())]

    def deadlines_s(self) -> dict[str, float]:
        """Return for how long each model, by its name, may process nothing before it counts as hanging."""
        return {walk.name: walk.deadline_s for walk in self._walks}

    def fail(self, stage: str, cause: BaseException) -> None:
        """Report the failure of a stage outside the street, such as the publisher."""
        self._fail(stage, cause)

    def parts(self) -> list[Part]:
        """Return the stages, for a `ProgressWatch`."""
        return [part for walk in self._walks for part in walk.parts()]

    def revive(self) -> None:
        """Let models work again whose cameras had all finished, and that have a new one by now.

        Returns at once: one that is not done with its last frames begins again when it is.
        """
        for walk in self._walks:
            walk.revive()
        self._walk_ended()  # a new camera may have finished before its model began again

    def _stages(self) -> list[Stage]:
        return [stage for walk in self._walks for stage in walk.stages]

    def _shut_down(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        for walk in self._walks:
            walk.close()
        self._cameras.stop(max(0.1, timeout_s / 2))
        for stage in self._stages():
            stage.join(max(0.1, deadline - time.monotonic()))
            if stage.is_alive():
                logger.warning("stage %s did not end within %.1f s and is left behind", stage.name, timeout_s)

    def _fail(self, stage: str, cause: BaseException) -> None:
        if self._failure is None:
            self._failure = _named(stage, cause)
        for walk in self._walks:
            walk.close()
        self._ended.set()

    def _walk_ended(self) -> None:
        if all(walk.over for walk in self._walks):
            self._ended.set()


class _Walk:
    """The way through one model: two stages and what is in flight between them."""

    def __init__(
        self,
        model: Model,
        live: AbstractSet[str],
        sink: DetectionsSink,
        statistics: Statistics,
        on_failure: OnFailure,
        on_end: Callable[[], None],
    ) -> None:
        self._model = model
        self._live = live
        self._sink = sink
        self._statistics = statistics
        self._on_end = on_end
        # Slots bound what is in flight. None: there will be no more.
        self._in_flight: queue.SimpleQueue[InFlight | None] = queue.SimpleQueue()
        self.name = model.name
        self.submitted = self.finished = 0
        self.ended = False
        self._through = False
        self._fed = False
        """Whether the feeder is done; what it fed may still be on its way."""
        self._turning = threading.RLock()
        """Held while the stages begin again, and while the lanes are closed for good. Nobody holds two."""
        self._behind = f" {model.name}" if model.name else ""
        self._submitting = self._awaiting = self._holding = False
        self._handled = 0
        self._slowest_s: float | None = None
        self._on_failure = on_failure
        self.stages = self._new_stages()

    def parts(self) -> tuple[Part, ...]:
        """Return what can hang: what enqueues batches, what runs them, and what is made of them."""
        feeder, postprocess = (stage.name for stage in self.stages)
        return (
            Part(feeder, feeder, lambda: DEADLINE_S, self._feeder_sign),
            Part(f"inference{self._behind}", postprocess, lambda: self.deadline_s, self._batch_sign),
            Part(postprocess, postprocess, lambda: DEADLINE_S, self._postprocess_sign),
        )

    def _feeder_sign(self) -> Sign:
        lanes, in_flight = self._model.lanes, self.submitted - self.finished
        its_turn = self.ended or not self._fed  # else what was fed before is waited for
        work = self._submitting or (
            its_turn and lanes.ready > 0 and in_flight < self._model.backend.slot_count
        )
        return Sign(work, self.submitted + lanes.taken)

    def _batch_sign(self) -> Sign:
        return Sign(self._awaiting, self.finished)

    def _postprocess_sign(self) -> Sign:
        return Sign(self._holding, self.finished + self._handled)

    @property
    def deadline_s(self) -> float:
        """How long a batch may take, in seconds."""
        if self._slowest_s is None:
            return BATCH_TIMEOUT_S
        return min(BATCH_TIMEOUT_S, max(DEADLINE_S, USUAL_BATCHES * self._slowest_s))

    @property
    def over(self) -> bool:
        """Whether it has ended and is not to begin again: its only camera may just be on its way here."""
        with self._turning:  # else it may begin again between the two, and seem to need it no more
            return self.ended and not self._model.lanes.must_reopen

    def revive(self) -> None:
        """Start the stages again if they have ended for want of cameras, and one has come."""
        with self._turning:
            if self.ended and self._model.lanes.must_reopen:
                self._begin_again()

    def _begin_again(self) -> None:
        self.ended = self._through = self._fed = False  # before the lanes: it is never over in between
        self._model.lanes.reopen()
        self._in_flight = queue.SimpleQueue()
        self.stages = self._new_stages()
        for stage in self.stages:
            stage.start()

    def _new_stages(self) -> tuple[Stage, Stage]:
        feeder, postprocess = f"feeder{self._behind}", f"postprocess{self._behind}"
        return (
            Stage(feeder, self._feed, self._on_failure, on_end=self._end_feeding),
            Stage(postprocess, self._postprocess, self._on_failure, on_end=self._end),
        )

    def close(self) -> None:
        """Take no more frames; what is in flight is finished."""
        with self._turning:
            self._model.lanes.close()

    def _end_feeding(self) -> None:
        self._fed = True
        self._in_flight.put(None)

    def _end(self) -> None:
        """Both stages are done; they begin again if a camera has come meanwhile."""
        self._give_back()
        with self._turning:
            self.ended = True
            self.revive()
        self._on_end()

    def _feed(self) -> None:
        backend, lanes = self._model.backend, self._model.lanes
        while True:
            slot = backend.acquire(POLL_S)
            if slot is None:
                if lanes.closed:
                    return
                continue
            try:
                frames: list[Frame] = []
                while not frames:
                    frames = lanes.take(
                        backend.max_batch, timeout_s=POLL_S, straggler_wait_s=self._model.batch_wait_s
                    )
            except ChannelClosed:
                backend.release(slot)
                raise
            taken_ns = time.monotonic_ns()
            infos = tuple(frame.info for frame in frames)
            self._submitting = True
            pending = backend.submit(slot, frames)
            self._submitting = False
            self.submitted += 1
            self._in_flight.put(InFlight(pending, infos, taken_ns))

    def _postprocess(self) -> None:
        while (batch := self._in_flight.get()) is not None:
            for detections in self._finish(batch):
                self._statistics.processed(detections.info.camera_id, detections.timings)
                self._sink.put(detections, wait=detections.info.camera_id not in self._live)
                self._handled += 1
            self._holding = False
            self.finished += 1
        self._through = True

    def _give_back(self) -> None:
        """After a failure, resolve what is still in flight, so that slots and leases come back."""
        deadline = time.monotonic() + GIVE_BACK_S
        while not self._through:
            try:
                batch = self._in_flight.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return
            self._through = batch is None
            if batch is not None:
                with suppress(Exception), batch.pending.result(GIVE_BACK_S):
                    pass

    def _finish(self, batch: InFlight) -> Sequence[Detections]:
        """Wait for a batch and return the detections of its frames; the slot is free afterwards."""
        finished = []
        began_s, self._awaiting = time.monotonic(), True
        with batch.pending.result(BATCH_TIMEOUT_S) as result:
            self._awaiting, self._holding = False, True
            self._slowest_s = max(FORGETTING * (self._slowest_s or 0.0), time.monotonic() - began_s)
            decode_ms = result.timings.decode_ms / len(batch.frames)
            for info, candidates in zip(batch.frames, result.candidates, strict=True):
                timings = Timings(
                    capture_ms=info.capture_ms,
                    waiting_ms=(batch.taken_ns - info.captured_ns) / 1e6,
                    preprocess_ms=result.timings.preprocess_ms,
                    inference_ms=result.timings.inference_ms,
                    postprocess_ms=decode_ms,
                )
                finished.append(self._model.detect(info, candidates, timings))
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
