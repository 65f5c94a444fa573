"""The one place where live detections are dropped: oldest first, each with a reason."""

from __future__ import annotations

import threading
from collections import deque

from edge_app.interfaces import DropObserver
from edge_app.messages import Detections, DropReason

STALL_S = 1.0
"""A waiting producer that sees no room for so long goes on, and drops until something is taken again."""


class DetectionsLane:
    """A bounded queue from the pipeline to the connection; shut while there is no broker.

    Args:
        size: Most detections that wait.
        drops: Told of each one that is dropped.
    """

    def __init__(self, size: int, drops: DropObserver) -> None:
        self._size = size
        self._drops = drops
        self._waiting: deque[Detections] = deque()
        self._changed = threading.Condition()
        self._shut: DropReason | None = DropReason.BROKER_ABSENT
        self._stalled = False

    def __len__(self) -> int:
        return len(self._waiting)

    def open(self) -> None:
        """Take detections from now on."""
        with self._changed:
            self._shut = None

    def shut(self, reason: DropReason) -> None:
        """Drop what waits and what comes, counted under `reason`."""
        with self._changed:
            self._shut = reason
            victims = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        self._count(victims, reason)

    def put(self, detections: Detections, *, wait: bool) -> bool:
        """Queue detections; when there is no room, wait for it, or drop the oldest. Return False if shut.

        Waiting ends when the broker stands still: a stopped broker must not stop the video.
        """
        with self._changed:
            if wait and not self._stalled:
                self._stalled = not self._changed.wait_for(self._may_enter, STALL_S)
            reason = self._shut
            victims = [detections]
            if reason is None:
                self._waiting.append(detections)
                victims = [self._waiting.popleft()] if len(self._waiting) > self._size else []
        self._count(victims, reason or DropReason.PUBLISH_QUEUE_FULL)
        return reason is None

    def take(self) -> Detections | None:
        """Return the oldest, or None if none waits."""
        with self._changed:
            self._stalled = False
            if not self._waiting:
                return None
            detections = self._waiting.popleft()
            self._changed.notify()
            return detections

    def _may_enter(self) -> bool:
        return self._shut is not None or len(self._waiting) < self._size

    def _count(self, victims: list[Detections], reason: DropReason) -> None:
        for victim in victims:
            self._drops.dropped(victim.info.camera_id, reason)
