"""What one sink has dropped, beside what the whole daemon counts."""

from __future__ import annotations

import threading
from collections import Counter

from edge_app.interfaces import DropObserver
from edge_app.messages import DropReason


class DropTally:
    """Counts drops by reason and by camera, and passes them on. Thread-safe.

    Args:
        observer: Told of every drop too; None: nobody else.
    """

    def __init__(self, observer: DropObserver | None = None) -> None:
        self._observer = observer
        self._lock = threading.Lock()
        self._by_reason: Counter[DropReason] = Counter()
        self._by_camera: Counter[str] = Counter()

    def dropped(self, camera_id: str, reason: DropReason, count: int = 1) -> None:
        """Count messages of a camera that went no further; see `DropObserver`."""
        with self._lock:
            self._by_reason[reason] += count
            self._by_camera[camera_id] += count
        if self._observer is not None:
            self._observer.dropped(camera_id, reason, count)

    def counts(self) -> dict[DropReason, int]:
        """Return how many were dropped, by reason."""
        with self._lock:
            return dict(self._by_reason)

    def of_camera(self, camera_id: str) -> int:
        """Return how many of a camera were dropped, for whatever reason."""
        with self._lock:
            return self._by_camera[camera_id]
