"""The real daemon, one part of which hangs while a file is there.

    python -m tests.faults.hanging_daemon CONFIG PART TRIGGER DEADLINE_S

PART is capture, feeder, inference, postprocess, publisher, or disk: that of every outbox. What hangs lies
behind the protocol that the daemon knows the part by; the daemon itself is as it is, but for its deadline.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_app.app import daemon, fleet, hang_guard, open_models
from edge_app.app.detector import Detector, open_detector
from edge_app.capture.attempt import Camera
from edge_app.capture.factory import create_camera
from edge_app.errors import EdgeAppError
from edge_app.interfaces import Backend, BatchResult, Pending, Slot
from edge_app.messages import Candidates, Detections, Frame, FrameInfo, Timings
from edge_app.ops.process import leave
from edge_app.pipeline import street
from edge_app.publish.outbox.store import OutboxStore
from edge_app.publish.publisher import MqttPublisher


class Hang:
    """Lets one part hang while the trigger is there."""

    def __init__(self, part: str, trigger: Path) -> None:
        self._part, self._trigger = part, trigger

    def here(self, part: str) -> None:
        while part == self._part and self._trigger.exists():
            time.sleep(0.05)


class HangingPending:
    def __init__(self, inner: Pending, hang: Hang) -> None:
        self._inner, self._hang = inner, hang
        self._lent: AbstractContextManager[BatchResult] | None = None

    def result(self, timeout_s: float) -> HangingPending:
        self._lent = self._inner.result(timeout_s)
        return self

    def __enter__(self) -> BatchResult:
        self._hang.here("inference")
        assert self._lent is not None
        return self._lent.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._lent is not None
        return self._lent.__exit__(kind, error, trace)


class HangingBackend:
    """A Backend that is another one, until it hangs."""

    def __init__(self, inner: Backend, hang: Hang) -> None:
        self._inner, self._hang = inner, hang

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def submit(self, slot: Slot, frames: Sequence[Frame]) -> HangingPending:
        self._hang.here("feeder")
        return HangingPending(self._inner.submit(slot, frames), self._hang)


class HangingDatabase:
    """A connection to a database that is another one, until its disk hangs."""

    def __init__(self, inner: sqlite3.Connection, hang: Hang) -> None:
        self._inner, self._hang = inner, hang

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return partial(self._call, found) if callable(found) else found

    def _call(self, original: Callable[..., Any], *arguments: Any) -> Any:
        self._hang.here("disk")
        return original(*arguments)


def let_hang(hang: Hang) -> None:
    """Put what may hang into the daemon's place of the parts."""
    next_message, connected = MqttPublisher.next_message, OutboxStore._connect

    def connect(self: OutboxStore, *, synced: bool) -> Any:
        return HangingDatabase(connected(self, synced=synced), hang)

    def opened(*arguments: Any, **options: Any) -> Detector:
        detector = open_detector(*arguments, **options)

        def detect(info: FrameInfo, candidates: Candidates, timings: Timings) -> Detections:
            hang.here("postprocess")
            return detector.detect(info, candidates, timings)

        backend: Any = HangingBackend(detector.backend, hang)
        return replace(detector, backend=backend, detect=detect)

    def created(*arguments: Any, **options: Any) -> Camera:
        camera = create_camera(*arguments, **options)

        def fallbacks() -> int:
            hang.here("capture")
            return camera.fallbacks()

        return replace(camera, fallbacks=fallbacks)

    def message(self: Any, *, confirmable: bool) -> Any:
        hang.here("publisher")
        return next_message(self, confirmable=confirmable)

    OutboxStore._connect = connect  # type: ignore[method-assign]
    vars(open_models)["open_detector"] = opened
    vars(fleet)["create_camera"] = created
    MqttPublisher.next_message = message  # type: ignore[method-assign]


def main(config: str, part: str, trigger: str, deadline_s: str) -> None:
    let_hang(Hang(part, Path(trigger)))
    vars(hang_guard)["DEADLINE_S"] = vars(street)["DEADLINE_S"] = float(deadline_s)
    status = 0
    try:
        daemon.run_daemon(Path(config))
    except EdgeAppError as error:
        print(f"edge-app: {error}", file=sys.stderr)  # noqa: T201 - as the command does
        status = error.exit_status
    leave(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
