"""What must be closed, and the count of what has not been."""

from __future__ import annotations

import threading
from collections import Counter
from typing import ClassVar

_live: Counter[str] = Counter()
_lock = threading.Lock()


def live_resources() -> dict[str, int]:
    """Return how many of each kind are open now; empty when nothing is left."""
    with _lock:
        return {kind: count for kind, count in sorted(_live.items()) if count}


class Resource:
    """Something on the device: closed explicitly, once, by a thread that is attached to the GPU."""

    kind: ClassVar[str]

    def __init__(self) -> None:
        self.closed = False
        with _lock:
            _live[self.kind] += 1

    def close(self) -> None:
        """Free it. Idempotent."""
        if self.closed:
            return
        self.closed = True
        with _lock:
            _live[self.kind] -= 1
        self._free()

    def _free(self) -> None:
        raise NotImplementedError
