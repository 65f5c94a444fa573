"""All cameras of the process: a reader thread for each, and one supervisor that reconnects them for ever.

    connecting ──▶ streaming ──▶ stalled ──▶ streaming | lost
        │              └───────▶ lost ─────▶ streaming
        └──▶ lost              (ended: a finite source is through; disabled ──▶ connecting, by command)

A lost camera stays lost, with the newest reason, until its next picture; so does a stalled one until it
can no longer be opened. Each attempt in between shows in the log at debug level.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edge_app.capture.attempt import Attempt, Camera, End
from edge_app.capture.backoff import Backoff
from edge_app.errors import EndOfStream
from edge_app.interfaces import CameraObserver, FrameSink
from edge_app.messages import CameraState, CameraStatus

logger = logging.getLogger(__name__)

STEADY_S = 10.0
"""A connection that lasted this long was a good one: the next wait is the shortest again."""

LINGER_S = 1.0
"""How long a given-up reader may take to end by itself before it counts as abandoned and is replaced."""

MAX_ABANDONED_PER_CAMERA = 3
MAX_ABANDONED = 16
"""Threads that hang inside a driver cannot be ended; a bound keeps a bad camera from filling the memory."""

_TICK_S = 1.0


class CameraGroup:
    """Reads all cameras into one sink, for ever. One group per process.

    Args:
        cameras: The cameras, with different ids.
        sink: Takes their frames.
        observer: Hears of each change of a camera's state, in order, on the supervisor's thread.
        max_abandoned: Most hanging threads, of all cameras together.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        sink: FrameSink,
        observer: CameraObserver,
        *,
        max_abandoned: int = MAX_ABANDONED,
    ) -> None:
        self._wake = threading.Event()
        self._stopping = False
        self._max_abandoned = max_abandoned
        self._watches = [
            _Watch(camera, sink, observer, changed=self._wake.set, may_abandon=self._may_abandon)
            for camera in cameras
        ]
        self._supervisor = threading.Thread(target=self._supervise, name="capture-supervisor", daemon=True)

    def start(self) -> None:
        """Begin to connect to all cameras at once; returns without waiting for any."""
        self._supervisor.start()

    def stop(self, timeout_s: float) -> None:
        """Stop reading. Returns within `timeout_s` seconds; readers that hang are left to the process's end.

        A file's reader may wait in the sink: close the sink first, as the street does.
        """
        deadline_s = time.monotonic() + timeout_s
        self._stopping = True
        self._wake.set()
        if self._supervisor.ident is not None:
            self._supervisor.join(timeout_s)
        for watch in self._watches:
            watch.give_up()
        for watch in self._watches:
            if not watch.join(deadline_s):
                logger.warning("camera %s: its reader hangs and is left behind", watch.status.camera_id)

    def switch(self, camera_id: str, *, enabled: bool) -> None:
        """Let go of a camera, or connect to it again; its status tells when that is done. Any thread.

        Raises:
            KeyError: There is no such camera.
            EndOfStream: It has delivered all that it has.
        """
        watch = {watch.status.camera_id: watch for watch in self._watches}[camera_id]
        if watch.through:
            raise EndOfStream
        watch.enabled = enabled
        self._wake.set()

    def statuses(self) -> Mapping[str, CameraStatus]:
        """Return how each camera does, by its id."""
        return {watch.status.camera_id: watch.status for watch in self._watches}

    def _supervise(self) -> None:
        while not self._stopping:
            self._wake.clear()
            now_s = time.monotonic()
            next_s = min([watch.step(now_s) for watch in self._watches], default=now_s + _TICK_S)
            self._wake.wait(max(0.0, min(next_s, now_s + _TICK_S) - time.monotonic()))

    def _may_abandon(self) -> bool:
        """Whether one more reader may be started although others hang."""
        return sum(watch.abandoned for watch in self._watches) < self._max_abandoned


class _Watch:
    """What the supervisor knows of one camera. Only the supervisor's thread calls `step`."""

    def __init__(
        self,
        camera: Camera,
        sink: FrameSink,
        observer: CameraObserver,
        *,
        changed: Callable[[], None],
        may_abandon: Callable[[], bool],
    ) -> None:
        self._camera = camera
        self._sink = sink
        self._observer = observer
        self._changed = changed
        self._may_abandon = may_abandon
        self._backoff = Backoff(camera.reconnect_min_s, camera.reconnect_max_s)
        self._frame_ids = itertools.count()
        self._attempt: Attempt | None = None
        self._lingering: list[Attempt] = []
        self.through = False
        self.enabled = True
        """Set by any thread; the supervisor does what it says."""
        self._connections = 0
        self._streaming_since_s: float | None = None
        self._retry_at_s = 0.0
        self._replace_at_s = 0.0
        self.status = CameraStatus(camera.camera_id, CameraState.CONNECTING)
        self._shown: CameraStatus | None = None

    @property
    def abandoned(self) -> int:
        """How many of its readers were given up and still hang."""
        return sum(attempt.is_alive() for attempt in self._lingering)

    def step(self, now_s: float) -> float:
        """Do what is due, and return when something will be due next (monotonic seconds)."""
        try:
            if self.through:
                return float("inf")
            if not self.enabled:
                return self._rest(now_s)
            if self._attempt is None:
                return self._connect(now_s)
            return self._look_after(self._attempt, now_s)
        except Exception:
            # The supervisor outlives everything: nobody else reconnects the other cameras.
            logger.exception("camera %s: its supervision failed and goes on", self._camera.camera_id)
            return now_s + _TICK_S

    def give_up(self) -> None:
        """Let no more frames through."""
        for attempt in self._attempts():
            attempt.revoke()

    def join(self, deadline_s: float) -> bool:
        """Wait for the readers until `deadline_s`; False if one of them hangs."""
        for attempt in self._attempts():
            attempt.join(max(0.0, deadline_s - time.monotonic()))
        return not any(attempt.is_alive() for attempt in self._attempts())

    def _attempts(self) -> list[Attempt]:
        return [*self._lingering, *([] if self._attempt is None else [self._attempt])]

    def _connect(self, now_s: float) -> float:
        """Start the next attempt when its time has come and nothing stands against it."""
        if now_s < self._retry_at_s:
            return self._retry_at_s
        self._lingering = [attempt for attempt in self._lingering if attempt.is_alive()]
        if self._lingering and now_s < self._replace_at_s:
            # It may be about to close its device, which cannot be opened twice.
            return self._replace_at_s
        if len(self._lingering) >= MAX_ABANDONED_PER_CAMERA or not self._may_abandon():
            whose = (
                f"{len(self._lingering)} of its readers" if self._lingering else "readers of other cameras"
            )
            self._show(CameraState.LOST, f"{whose} hang; it is tried again when one of them has ended")
            return now_s + _TICK_S
        if self._lingering:
            logger.warning(
                "camera %s: a reader hangs and is replaced; %d of its threads are abandoned",
                self._camera.camera_id,
                len(self._lingering),
                extra={"event": "camera_reader_replaced"},
            )
        if self._shown is None or self._shown.state is CameraState.DISABLED:
            self._show(CameraState.CONNECTING, None)
        attempt = Attempt(self._camera, self._sink, self._frame_ids, self._changed)
        attempt.start()
        self._attempt = attempt
        return attempt.overdue_at_s

    def _rest(self, now_s: float) -> float:
        """Let go of the camera, once, and do nothing until it is enabled."""
        if self._attempt is not None:
            self._attempt.revoke()
            self._lingering.append(self._attempt)
            self._attempt = None
            self._replace_at_s = now_s + LINGER_S
        self._streaming_since_s = None
        self._retry_at_s = 0.0
        self._backoff.reset()
        self._show(CameraState.DISABLED, "a command disabled it")
        return float("inf")

    def _look_after(self, attempt: Attempt, now_s: float) -> float:
        if attempt.size is not None:
            self._show_streaming(attempt, now_s)
        if attempt.end is End.LOST:
            self._lose(attempt, CameraState.LOST, attempt.reason or "", now_s)
        elif attempt.end is not None:
            self._finish(attempt.end)
        elif now_s >= attempt.overdue_at_s:
            attempt.revoke()
            if attempt.opened:
                self._lose(attempt, CameraState.STALLED, f"no picture for {self._camera.stall_s:g} s", now_s)
            else:
                self._lose(
                    attempt, CameraState.LOST, f"no answer within {self._camera.open_timeout_s:g} s", now_s
                )
        else:
            return attempt.overdue_at_s
        return self._retry_at_s

    def _show_streaming(self, attempt: Attempt, now_s: float) -> None:
        if self._streaming_since_s is None:
            self._streaming_since_s = now_s
            self._connections += 1
        elif not self._camera.live:
            # The pictures of a folder may all differ in size; that is no news.
            return
        width, height = attempt.size or (None, None)
        self.status = replace(
            self.status,
            decoder=attempt.decoder,
            width=width,
            height=height,
            reconnects=self._connections - 1,
            decoder_fallbacks=self._camera.fallbacks(),
        )
        self._show(CameraState.STREAMING, None)

    def _lose(self, attempt: Attempt, state: CameraState, reason: str, now_s: float) -> None:
        if self._streaming_since_s is not None and now_s - self._streaming_since_s >= STEADY_S:
            self._backoff.reset()
        self._streaming_since_s = None
        self._attempt = None
        self._lingering.append(attempt)
        wait_s = self._backoff.next_s()
        self._retry_at_s = now_s + wait_s
        self._replace_at_s = now_s + LINGER_S
        self._show(state, reason)
        logger.debug("camera %s: tried again in %.1f s", self._camera.camera_id, wait_s)

    def _finish(self, end: End) -> None:
        self.through = True
        if end is End.FINISHED:
            self._show(CameraState.ENDED, None)
            self._sink.finish(self._camera.camera_id)

    def _show(self, state: CameraState, reason: str | None) -> None:
        """Log and report a status that differs from the last one."""
        self.status = status = replace(self.status, state=state, reason=reason)
        if status == self._shown:
            return
        self._shown = status
        size = "" if status.width is None else f" {status.width}x{status.height}"
        calm = state not in (CameraState.STALLED, CameraState.LOST)
        logger.log(
            logging.INFO if calm else logging.WARNING,
            "camera %s: %s%s",
            status.camera_id,
            state.value,
            f": {reason}" if reason else (size if state is CameraState.STREAMING else ""),
            extra={"event": f"camera_{state.value}"},
        )
        try:
            self._observer.camera_changed(status)
        except Exception:
            logger.exception("camera %s: its status could not be passed on", status.camera_id)
