"""What the service manager hears while the daemon runs: when it is ready, how it does, that it lives."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_app.messages import CameraState
from edge_app.ops.sd_notify import notify

logger = logging.getLogger(__name__)

READY_GRACE_S = 10.0
"""With no camera there for so long the daemon counts as ready: it waits for them, for ever if need be."""
POLL_S = 0.1
STATUS_EVERY_S = 5.0
STATUS_CHARS = 300


@dataclass(frozen=True, slots=True)
class ServiceState:
    """How the daemon does at a moment.

    Attributes:
        processed: Frames of all cameras that became detections since the start.
        fps: The same for each second, over the last ten.
        cameras: The state of every camera.
        outbox_messages: How many wait on disk; None where nothing is kept there.
        outbox_oldest_s: Age of the oldest of them, in seconds.
    """

    processed: int
    fps: float
    cameras: Mapping[str, CameraState]
    outbox_messages: int | None = None
    outbox_oldest_s: float | None = None

    def reason_to_be_ready(self, waited_s: float) -> str | None:
        """Return why a daemon that has run for `waited_s` seconds is ready, or None if it is not.

        A camera that streams while nothing is inferred is a daemon that does not work.
        """
        if self.processed:
            return "the first frame was inferred"
        if waited_s >= READY_GRACE_S and CameraState.STREAMING not in self.cameras.values():
            return "no camera is there; they are tried for ever"
        return None

    def __str__(self) -> str:
        streaming = sum(state is CameraState.STREAMING for state in self.cameras.values())
        words = [f"{streaming} of {len(self.cameras)} cameras, {self.fps:.1f} frames/s"]
        if self.outbox_messages is not None:
            age = f", the oldest for {self.outbox_oldest_s:.0f} s" if self.outbox_oldest_s is not None else ""
            words.append(f"{self.outbox_messages} messages in the outbox{age}")
        away = [
            f"{name} {state.value}"
            for name, state in self.cameras.items()
            if state not in (CameraState.STREAMING, CameraState.ENDED)
        ]
        words += [", ".join(away)] if away else []
        return "; ".join(words)[:STATUS_CHARS]


class ServiceReport:
    """Tells the service manager READY once, then STATUS and WATCHDOG, until it is stopped.

    It does nothing where nobody listens (no `NOTIFY_SOCKET`).

    Args:
        state: Asked from a thread of its own, until READY, and then for each STATUS; must return at once.
        alive: Whether to send the next WATCHDOG: false lets the service manager end the process.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        state: Callable[[], ServiceState],
        alive: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self._alive, self._clock = state, alive, clock
        self._began_s = clock()
        self._ready = self._owes_ready = False
        self._status_due_s = self._watchdog_due_s = -float("inf")
        self._watchdog_s = watchdog_interval_s()
        self._stop = threading.Event()
        self._telling = threading.Lock()
        """Held while something is told: nothing follows on the daemon's last word."""
        self._thread = threading.Thread(target=self._main, name="service-report", daemon=True)

    def start(self) -> None:
        """Begin; the grace for cameras counts from now."""
        if os.environ.get("NOTIFY_SOCKET"):
            self._began_s = self._clock()
            self._thread.start()

    def stop(self) -> None:
        """Say nothing more: what is told after this is the daemon's last word."""
        with self._telling:
            self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def last_word(self, status: str) -> None:
        """Tell why the daemon is about to end, and nothing more; not to be called by `state` or `alive`."""
        self.stop()
        notify(f"STATUS={status}")

    def reloading(self) -> None:
        """A reload begins; before READY, and where nobody listens, that concerns nobody."""
        with self._telling:
            if self._ready and not self._stop.is_set():
                usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                if notify("RELOADING=1", f"MONOTONIC_USEC={usec}"):
                    self._owes_ready = False  # until the reload is over: READY would end it

    def reloaded(self, words: str) -> None:
        """A reload is over, whatever came of it: the daemon works as before, or otherwise."""
        with self._telling:
            if self._ready and not self._stop.is_set():
                self._owes_ready = True
                self._send(f"STATUS=reloaded: {words.partition(chr(10))[0][:STATUS_CHARS]}")
                self._status_due_s = self._clock() + STATUS_EVERY_S

    def step(self) -> None:
        """Tell what is due at this moment."""
        now_s = self._clock()
        told: list[str] = []
        if not self._ready or now_s >= self._status_due_s:
            told += self._ready_and_status(self._state(), now_s)
        if self._watchdog_s is not None and now_s >= self._watchdog_due_s and self._alive():
            self._watchdog_due_s = now_s + self._watchdog_s
            told.append("WATCHDOG=1")
        with self._telling:
            if (told or self._owes_ready) and not self._stop.is_set():
                self._send(*told)

    def _send(self, *told: str) -> None:
        """Tell, and READY before it while that is owed: one that is lost would be waited for in vain."""
        if notify(*(["READY=1"] if self._owes_ready else []), *told):
            self._owes_ready = False

    def _ready_and_status(self, state: ServiceState, now_s: float) -> list[str]:
        told: list[str] = []
        if not self._ready and (reason := state.reason_to_be_ready(now_s - self._began_s)) is not None:
            self._owes_ready = self._ready = True
            self._status_due_s = now_s
            logger.info("ready: %s", reason)
        if now_s >= self._status_due_s:
            self._status_due_s = now_s + STATUS_EVERY_S
            told.append(f"STATUS={state}" if self._ready else f"STATUS=waiting for the first frame: {state}")
        return told

    def _main(self) -> None:
        while not self._stop.wait(POLL_S):
            self.step()


def watchdog_interval_s() -> float | None:
    """Return how often WATCHDOG is to be told, a third of what the service manager allows; None: never."""
    pid = os.environ.get("WATCHDOG_PID")
    usec = os.environ.get("WATCHDOG_USEC", "")
    if not usec.isdigit() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 3e6
