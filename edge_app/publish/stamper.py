"""What every message says of itself: number, id and time."""

from __future__ import annotations

import threading
import time
from collections import Counter

from edge_app.ops.clock import ClockSync
from edge_app.publish.payloads import Stamp
from edge_app.publish.ulid import UlidFactory


class Stamper:
    """Numbers messages by topic and gives each its id and time. Thread-safe."""

    def __init__(self, node: str, boot: str) -> None:
        self._node = node
        self.boot = boot
        self._new_id = UlidFactory()
        self._clock = ClockSync()
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def next(self, topic: str) -> Stamp:
        """Return the stamp of the next message of `topic`."""
        with self._lock:
            seq = self._counts[topic]
            self._counts[topic] = seq + 1
        return self._stamp(seq)

    def unnumbered(self) -> Stamp:
        """Return a stamp without a number, for the will."""
        return self._stamp(None)

    def _stamp(self, seq: int | None) -> Stamp:
        return Stamp(
            self._node,
            self.boot,
            self._new_id(),
            seq,
            time.monotonic_ns(),
            time.time_ns(),
            self._clock.synced(),
        )
