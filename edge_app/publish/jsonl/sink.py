"""A sink that is a file: written by a thread of its own, which counts what the disk does not take."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

from edge_app.errors import PublishError
from edge_app.interfaces import DropObserver, SinkState
from edge_app.messages import CameraStatus, Detections, DropReason, NodeInfo, NodeState
from edge_app.publish.disk_wait import HANGS_S, DiskWait
from edge_app.publish.drops import DropTally
from edge_app.publish.encoders.encoder import Encoder
from edge_app.publish.jsonl.rotating import RotatingFile
from edge_app.publish.lane import DetectionsLane
from edge_app.publish.observed import Observed
from edge_app.publish.refusal import RepeatFilter
from edge_app.publish.traffic import Message

logger = logging.getLogger(__name__)

BATCH = 256
"""Most messages of one write."""
MOST_STATES = 1000
"""States that wait; beyond it the oldest go."""
SYNC_S = 1.0
"""What the loss of power may cost where it is to cost little."""
RETRY_S = 5.0
"""How soon a disk that could not be written is tried again."""


class FileSink:
    """A `Sink` that appends messages to a `RotatingFile`.

    Args:
        name: Of the sink.
        file: Where they go.
        encoder: How it is said.
        queue_size: Detections that wait; the oldest is dropped.
        health_interval_s: How often health is written.
        publish_empty: Whether frames without objects are written.
        drops: Told of every detections message that goes no further.
        observed: Asked for drop counters and health.
        trouble: Called when writing begins to fail, in words, and with None when it works again.
    """

    def __init__(
        self,
        name: str,
        file: RotatingFile,
        encoder: Encoder,
        *,
        queue_size: int,
        health_interval_s: float,
        publish_empty: bool,
        drops: DropObserver,
        observed: Observed,
        trouble: Callable[[str | None], None],
    ) -> None:
        self._name, self._file, self._encoder = name, file, encoder
        self._health_interval_s, self._publish_empty = health_interval_s, publish_empty
        self._observed, self._trouble = observed, trouble
        self._drops = DropTally(drops)
        self._lane = DetectionsLane(queue_size, self._drops)
        self._lane.open()
        self._states: deque[bytes] = deque(maxlen=MOST_STATES)
        self._states_lock = threading.Lock()
        self._changed = threading.Event()
        self._stopping = False
        self._informed = False
        self._written = 0
        self._problem: str | None = None
        self._retry_at_s = 0.0
        self._health_due_s = self._sync_due_s = 0.0
        self._repeats = RepeatFilter()
        self._disk, self._hangs = DiskWait(HANGS_S), False
        self._disk_lock = threading.Lock()
        """Held while that is changed, and while trouble is told."""
        self._thread = threading.Thread(target=self._main, name=f"sink-{name}", daemon=True)

    def start(self) -> None:
        """Begin to write; returns at once."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Write what waits, and close; see `Sink`."""
        self._stopping = True
        self._changed.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        self._lane.shut(DropReason.SHUTDOWN)
        return not self._states

    def set_node_state(self, state: NodeState, reason: str | None = None) -> None:
        """Write what the daemon is doing."""
        self._keep(lambda: self._encoder.node(state, reason))

    def set_info(self, info: NodeInfo) -> None:
        """Write what runs here."""
        self._keep(lambda: self._encoder.info(info))
        self._informed = True

    def camera_changed(self, status: CameraStatus) -> None:
        """Write how a camera does."""
        self._keep(lambda: self._encoder.camera(status))

    def put(self, detections: Detections, *, wait: bool) -> None:
        """Write detections, or drop and count them."""
        if not self._informed:
            raise PublishError("Detections came before `set_info` told what model they are of.")
        if (len(detections) or self._publish_empty) and self._lane.put(detections, wait=wait):
            self._changed.set()
        self._look_at_disk()

    def state(self) -> SinkState:
        """Return how this sink does."""
        return SinkState(
            self._problem, len(self._lane) + len(self._states), self._written, self._drops.counts()
        )

    def _keep(self, states: Callable[[], Iterable[Message]]) -> None:
        with self._states_lock:  # numbers must not be overtaken by another thread
            self._states.extend(message.payload for message in states())
        self._changed.set()

    def _look_at_disk(self) -> None:
        """Say so if it has not answered for long; only somebody else than the thread that writes can tell."""
        with self._disk_lock:
            hung_s = self._disk.hangs_s()
            if hung_s and not self._hangs:
                self._hangs = True
                self._tell(f"{self._file.path}: the disk has not answered for {hung_s:.0f} s")

    # What follows runs on the sink's own thread.

    def _main(self) -> None:
        try:
            while not self._stopping:
                self._changed.wait(self._patience_s())
                self._changed.clear()
                self._work()
            self._end()
        except Exception as error:  # a fault of this code must not stop the video
            logger.exception("sink %s has ended", self._name)
            self._lane.shut(DropReason.FILE_UNWRITABLE)
            with self._disk_lock:
                self._disk.end()
                self._tell(f"{self._file.path}: it has ended ({type(error).__name__}: {error})")

    def _patience_s(self) -> float:
        due_s = self._retry_at_s or min(self._health_due_s, self._sync_due_s)
        return min(max(0.0, due_s - time.monotonic()), SYNC_S)

    def _work(self) -> None:
        now_s = time.monotonic()
        if now_s < self._retry_at_s:
            return
        if now_s >= self._health_due_s:
            self._health_due_s = now_s + self._health_interval_s
            if self._problem is None or not self._states:  # it would push out the states that wait
                self._say_health()
        while self._write() and not self._stopping:
            pass

    def _end(self) -> None:
        while self._write():
            pass
        self._say_health()  # behind all detections, so that it counts them
        self._write()
        try:
            self._file.close()
        except OSError as error:
            self._fail(error)

    def _say_health(self) -> None:
        health = self._encoder.health(self._observed.health())
        if health is not None:
            with self._states_lock:
                self._states.append(health.payload)

    def _write(self) -> bool:
        """Write one batch; return whether there may be more."""
        batch = self._batch()
        full, wrote = len(batch) == BATCH, bool(batch)
        self._disk.begin()
        try:
            self._file.open()
            while batch:
                self._disk.begin()  # each is a sign of life
                count = self._file.write([line for line, _ in batch])
                self._written += sum(camera_id is not None for _, camera_id in batch[:count])
                del batch[:count]
            if time.monotonic() >= self._sync_due_s:
                self._sync_due_s = time.monotonic() + SYNC_S
                self._disk.begin()
                self._file.sync()
        except OSError as error:
            self._answered(error, works=False)
            self._give_up(batch)
            return False
        self._answered(None, works=wrote)
        if self._retry_at_s:
            self._retry_at_s = 0.0
            self._lane.open()
        return full

    def _batch(self) -> list[tuple[bytes, str | None]]:
        """Take what waits: states first, then detections with their camera."""
        batch: list[tuple[bytes, str | None]] = []
        while len(batch) < BATCH and self._states:
            batch.append((self._states.popleft() + b"\n", None))
        while len(batch) < BATCH and (detections := self._lane.take()) is not None:
            camera_id = detections.info.camera_id
            message = self._encoder.detections(detections, self._observed.dropped_frames(camera_id))
            batch.append((message.payload + b"\n", camera_id))
        return batch

    def _give_up(self, batch: list[tuple[bytes, str | None]]) -> None:
        """Count detections as dropped; states wait on."""
        for camera_id, count in Counter(camera for _, camera in batch if camera is not None).items():
            self._drops.dropped(camera_id, DropReason.FILE_UNWRITABLE, count)
        with self._states_lock:
            states = [line[:-1] for line, camera_id in batch if camera_id is None] + list(self._states)
            self._states = deque(states, MOST_STATES)

    def _answered(self, error: OSError | None, *, works: bool) -> None:
        """The disk has refused what was asked, or has done it: it `works` if it was to write."""
        with self._disk_lock:
            self._disk.end()
            works, self._hangs = works or self._hangs, False
            if error is not None:
                self._fail(error)
            elif works and self._problem is not None:
                logger.info("sink %s: %s can be written again", self._name, self._file.path)
                self._tell(None)

    def _fail(self, error: OSError) -> None:
        self._retry_at_s = time.monotonic() + RETRY_S
        self._lane.shut(DropReason.FILE_UNWRITABLE)
        self._tell(f"{self._file.path} cannot be written: {(error.strerror or str(error)).lower()}")

    def _tell(self, words: str | None) -> None:
        if words is not None and self._repeats.allows(words):
            logger.error("sink %s: %s [%s]", self._name, words, DropReason.FILE_UNWRITABLE.value)
        if words != self._problem:
            self._problem = words
            self._trouble(words)
