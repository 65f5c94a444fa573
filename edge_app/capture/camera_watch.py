"""One camera of a group: what the supervisor knows of it, and does for it.

    connecting ──▶ streaming ──▶ stalled ──▶ streaming | lost
        │              ├───────▶ lost ─────▶ streaming
        │              └───────▶ frozen ───▶ streaming | stalled | lost
        └──▶ lost              (ended: a finite source is through; disabled ──▶ connecting, by command)

A lost camera stays lost, with the newest reason, until its next picture; so does a stalled one until it
can no longer be opened. Each attempt in between shows in the log at debug level.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_app.capture.attempt import Attempt, Camera, End
from edge_app.capture.backoff import Backoff
from edge_app.capture.frozen import SurfaceLooker
from edge_app.interfaces import CameraObserver, FrameSink
from edge_app.messages import CameraState, CameraStatus

logger = logging.getLogger("edge_app.capture.cameras")  # the name that the log has for the cameras' states

STEADY_S = 10.0
"""A connection that lasted this long was a good one: the next wait is the shortest again."""

LINGER_S = 1.0
"""How long a given-up reader may take to end by itself before it counts as abandoned and is replaced."""

MAX_ABANDONED_PER_CAMERA = 3
"""Threads that hang inside a driver cannot be ended; all cameras together have a bound of their own."""

REFUSED_MIN_S, REFUSED_MAX_S = 30.0, 300.0
"""A camera that refuses a password is tried again after the first, then twice as long, up to the second: many
lock an account, or an address, after a few wrong ones."""

TICK_S = 1.0
"""So often cameras are looked at, although nothing is due."""


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered of a camera that was let go, until the process ends.

    Attributes:
        next_frame_id: The id that its next frame would have had.
        enabled: Whether no command disabled it.
        connections: How often it began to stream.
        fallbacks: How many of its decoders failed and were replaced.
    """

    next_frame_id: int = 0
    enabled: bool = True
    connections: int = 0
    fallbacks: int = 0


class CameraWatch:
    """What the supervisor knows of one camera. Only the supervisor's thread calls `step`."""

    def __init__(
        self,
        camera: Camera,
        sink: FrameSink,
        observer: CameraObserver,
        *,
        changed: Callable[[], None],
        may_abandon: Callable[[], bool],
        looker: SurfaceLooker,
    ) -> None:
        self._camera = camera
        self._sink = sink
        self._observer = observer
        self._changed = changed
        self._may_abandon = may_abandon
        self._looker = looker
        self._backoff = Backoff(camera.reconnect_min_s, camera.reconnect_max_s)
        self._refusals = Backoff(
            max(REFUSED_MIN_S, camera.reconnect_min_s),
            max(REFUSED_MAX_S, camera.reconnect_max_s),
            lambda _shortest, longest: longest,  # what is told stays the same
        )
        self.camera_id = camera.camera_id
        self.frame_ids = itertools.count()
        """Shared by all its attempts."""
        self._attempt: Attempt | None = None
        self._lingering: list[Attempt] = []
        self._predecessors: list[Attempt] = []
        """Of the camera before it was altered; given a moment to end before they count as hanging."""
        self.through = False
        self.enabled = True
        """Set by any thread; the supervisor does what it says."""
        self._connections = self._fallbacks_before = 0
        self._streaming_since_s: float | None = None
        self._retry_at_s = 0.0
        self._replace_at_s = 0.0
        self.status = CameraStatus(camera.camera_id, CameraState.CONNECTING)
        self._shown: CameraStatus | None = None

    @property
    def abandoned(self) -> int:
        """How many of its readers were given up and still hang."""
        return sum(attempt.hangs for attempt in self._attempts())

    def forgive(self, seconds: float) -> None:
        """Let time pass that does not count against its reader."""
        if self._attempt is not None:
            self._attempt.forgive(seconds)

    @property
    def lives(self) -> bool:
        """Whether any of its readers runs, or hangs."""
        return any(attempt.is_alive() for attempt in self._attempts())

    def forget_ended(self) -> None:
        """Keep nothing of readers that were given up and have ended: each holds the memory of its frames."""
        self._predecessors = [attempt for attempt in self._predecessors if attempt.is_alive()]
        self._lingering = [attempt for attempt in self._lingering if attempt.is_alive()]

    def past(self) -> Past:
        """Return what a watch that takes its place goes on with; once, as it takes a frame's id."""
        return Past(next(self.frame_ids), self.enabled, self._connections, self._fallbacks())

    def resume(self, past: Past) -> None:
        """Go on from what is remembered of the camera; before the first step."""
        self.frame_ids = itertools.count(past.next_frame_id)
        self.enabled = past.enabled
        self._connections, self._fallbacks_before = past.connections, past.fallbacks
        # From the first status on: a counter that falls to 0 in between would be read as one that began anew.
        self.status = replace(
            self.status, reconnects=max(0, past.connections - 1), decoder_fallbacks=past.fallbacks
        )

    def follow(self, other: CameraWatch) -> None:
        """Wait for the readers of the same camera before it was let go, and count them as its own."""
        self._predecessors += [attempt for attempt in other._attempts() if attempt.is_alive()]
        self._replace_at_s = other._replace_at_s

    def step(self, now_s: float) -> float:
        """Do what is due, and return when something will be due next (monotonic seconds)."""
        try:
            self.forget_ended()
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
            return now_s + TICK_S

    def give_up(self) -> None:
        """Let no more frames through."""
        for attempt in self._attempts():
            attempt.revoke()
        self._predecessors, self._lingering, self._attempt = self._attempts(), [], None
        self._replace_at_s = time.monotonic() + LINGER_S

    def join(self, deadline_s: float) -> bool:
        """Wait for the readers until `deadline_s`; False if one of them hangs."""
        for attempt in self._attempts():
            attempt.join(max(0.0, deadline_s - time.monotonic()))
        return not any(attempt.is_alive() for attempt in self._attempts())

    def _attempts(self) -> list[Attempt]:
        current = [] if self._attempt is None else [self._attempt]
        return [*self._predecessors, *self._lingering, *current]

    def _connect(self, now_s: float) -> float:
        """Start the next attempt when its time has come and nothing stands against it."""
        if now_s < self._retry_at_s:
            return self._retry_at_s
        alive = [attempt for attempt in self._attempts() if attempt.is_alive()]
        if alive and now_s < self._replace_at_s:
            # It may be about to close its device, which cannot be opened twice.
            return self._replace_at_s
        self._lingering, self._predecessors = alive, []
        its_own = len(self._lingering) >= MAX_ABANDONED_PER_CAMERA
        if its_own or not self._may_abandon():
            whose = f"{len(self._lingering)} of its readers" if its_own else "too many readers of all cameras"
            self._show(CameraState.LOST, f"{whose} have not ended; it is tried again when one of them has")
            return now_s + TICK_S
        if self._lingering:
            logger.warning(
                "camera %s: a reader hangs and is replaced; %d of its threads are abandoned",
                self._camera.camera_id,
                len(self._lingering),
                extra={"event": "camera_reader_replaced"},
            )
        if self._shown is None or self._shown.state is CameraState.DISABLED:
            self._show(CameraState.CONNECTING, None)
        attempt = Attempt(self._camera, self._sink, self.frame_ids, self._changed, self._looker)
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
        self._refusals.reset()
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
            decoder_fallbacks=self._fallbacks(),
        )
        if attempt.frozen:
            words = f"the same picture for {self._camera.frozen_s:g} s; its frames go on to be looked at"
            self._show(CameraState.FROZEN, words)
        else:
            self._show(CameraState.STREAMING, None)

    def _fallbacks(self) -> int:
        return self._fallbacks_before + self._camera.fallbacks()

    def _lose(self, attempt: Attempt, state: CameraState, reason: str, now_s: float) -> None:
        if self._streaming_since_s is not None and now_s - self._streaming_since_s >= STEADY_S:
            self._backoff.reset()
            self._refusals.reset()
        self._streaming_since_s = None
        self._attempt = None
        attempt.revoke()
        self._lingering.append(attempt)
        wait_s = (self._refusals if attempt.access_refused else self._backoff).next_s()
        if attempt.access_refused:
            reason += f"; it is tried again after {wait_s:g} s, for many cameras lock those who try often"
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
        calm = state not in (CameraState.STALLED, CameraState.LOST, CameraState.FROZEN)
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
