"""All cameras of the process: a reader thread for each, and one supervisor that reconnects them for ever."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence

from edge_app.capture.attempt import Camera
from edge_app.capture.camera_watch import TICK_S, CameraWatch, Past
from edge_app.capture.frozen import SurfaceLooker
from edge_app.errors import EndOfStream
from edge_app.interfaces import CameraObserver, FrameSink
from edge_app.messages import CameraStatus
from edge_app.ops.progress import Sign

logger = logging.getLogger(__name__)

STOOD_STILL_S = 3 * TICK_S
"""A supervisor that comes so long after its last turn was kept from it, and so was everybody else."""

MAX_ABANDONED = 16
"""Threads that hang inside a driver cannot be ended; a bound keeps a bad camera from filling the memory."""

SUPERVISOR = "capture-supervisor"


class CameraGroup:
    """Reads all cameras into one sink, for ever. One group per process.

    Args:
        cameras: The cameras, with different ids.
        sink: Takes their frames.
        observer: Hears of each change of a camera's state, in order, on the supervisor's thread.
        max_abandoned: Most hanging threads of all cameras together; None: 16, or as many as cameras.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        sink: FrameSink,
        observer: CameraObserver,
        *,
        max_abandoned: int | None = None,
    ) -> None:
        self._wake = threading.Event()
        self._stopping = False
        self._turns = 0
        self._max_abandoned = max_abandoned
        self._sink, self._observer = sink, observer
        self._looker = SurfaceLooker()
        self._lock = threading.Lock()
        """Held while a camera is stepped, comes or goes: one that has gone shows no state any more."""
        self._watches = {camera.camera_id: self._watch(camera) for camera in cameras}
        self._gone: list[CameraWatch] = []
        """Whose readers may still hang."""
        self._past: dict[str, Past] = {}
        """Of cameras that have gone: one that comes back goes on from there."""
        self._supervisor = threading.Thread(target=self._supervise, name=SUPERVISOR, daemon=True)

    def start(self) -> None:
        """Begin to connect to all cameras at once; returns without waiting for any."""
        self._supervisor.start()

    def stop(self, timeout_s: float) -> None:
        """Stop reading. Returns within `timeout_s` seconds; readers that hang are left to the process's end.

        A file's reader may wait in the sink: close the sink first, as the street does.
        """
        deadline_s = time.monotonic() + timeout_s
        self._stopping = True
        self._looker.stop()
        self._wake.set()
        if self._supervisor.ident is not None:
            self._supervisor.join(timeout_s)
        watches = [*self._watches.values(), *self._gone]
        for watch in watches:
            watch.give_up()
        for watch in watches:
            if not watch.join(deadline_s):
                logger.warning("camera %s: its reader hangs and is left behind", watch.status.camera_id)

    def switch(self, camera_id: str, *, enabled: bool) -> None:
        """Let go of a camera, or connect to it again; its status tells when that is done. Any thread.

        Raises:
            KeyError: There is no such camera.
            EndOfStream: It has delivered all that it has.
        """
        with self._lock:  # else a reload that lets go of it just now would not remember it
            watch = self._watches[camera_id]
            if watch.through:
                raise EndOfStream
            watch.enabled = enabled
        self._wake.set()

    def statuses(self) -> Mapping[str, CameraStatus]:
        """Return how each camera does, by its id."""
        return {camera_id: watch.status for camera_id, watch in self._watches.items()}

    def let_go(self, camera_id: str) -> int:
        """Stop to read a camera, of which no frame passes from now on and no state is told; any thread.

        Returns:
            The id that its next frame would have had.

        Raises:
            KeyError: There is no such camera.
        """
        with self._lock:
            watches = dict(self._watches)
            watch = watches.pop(camera_id)
            watch.give_up()
            self._watches = watches
            self._gone = [*self._gone, watch]
            self._past[camera_id] = past = watch.past()
            return past.next_frame_id

    def next_frame_id(self, camera_id: str) -> int:
        """Return the id that the first frame of a camera will have which is not there now."""
        return self._past.get(camera_id, Past()).next_frame_id

    def add(self, camera: Camera) -> None:
        """Read one more camera. If it was let go before, its frames go on being counted.

        What a command disabled stays so, however long ago it was let go.

        The device of a camera that was let go is opened only when its reader has ended, or hangs.
        """
        with self._lock:
            before = [gone for gone in self._gone if gone.camera_id == camera.camera_id]
            self._gone = [gone for gone in self._gone if gone not in before]
            watch = self._watch(camera)
            watch.resume(self._past.get(camera.camera_id, Past()))
            for gone in before:
                watch.follow(gone)
            self._watches = {**self._watches, camera.camera_id: watch}
        self._wake.set()

    def _watch(self, camera: Camera) -> CameraWatch:
        return CameraWatch(
            camera,
            self._sink,
            self._observer,
            changed=self._wake.set,
            may_abandon=self._may_abandon,
            looker=self._looker,
        )

    def sign(self) -> Sign:
        """Return whether the supervisor gets on: without it no camera is connected to again."""
        return Sign(work=not self._stopping, done=self._turns)

    def _supervise(self) -> None:
        last_s = time.monotonic()
        while not self._stopping:
            self._turns += 1
            self._wake.clear()
            now_s = time.monotonic()
            if now_s - last_s > STOOD_STILL_S:
                self._forgive(now_s - last_s)
            last_s = now_s
            due_s = [self._step(watch, now_s) for watch in self._watches.values()]
            self._forget_ended()
            next_s = min(due_s, default=now_s + TICK_S)
            self._wake.wait(max(0.0, min(next_s, now_s + TICK_S) - time.monotonic()))

    def _forgive(self, seconds: float) -> None:
        """Let time pass in which we stood still, or the machine: no reader could show a sign of life."""
        for watch in self._watches.values():
            watch.forgive(seconds)

    def _forget_ended(self) -> None:
        """Keep nothing of cameras that were let go and whose readers have ended."""
        with self._lock:
            for gone in self._gone:
                gone.forget_ended()
            self._gone = [gone for gone in self._gone if gone.lives]

    def _step(self, watch: CameraWatch, now_s: float) -> float:
        with self._lock:
            gone = self._watches.get(watch.camera_id) is not watch
            return float("inf") if gone else watch.step(now_s)

    def _may_abandon(self) -> bool:
        """Whether one more reader may be started although others hang."""
        watches = [*self._watches.values(), *self._gone]
        most = self._max_abandoned or max(MAX_ABANDONED, len(self._watches))
        return sum(watch.abandoned for watch in watches) < most
