"""Tells when memory gets short, before the kernel ends a process for want of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from edge_app.memory import MIB, MemoryBound, memory_bounds

logger = logging.getLogger(__name__)

POLL_S = 2.0
SHORT = 0.05
"""With less than this share of a bound left memory is short ..."""
ENOUGH = 0.07
"""... until there is so much again: what lies between is no news."""


class MemoryWatch:
    """Looks every two seconds, from a thread of its own, at what bounds the memory of this process.

    Args:
        tell: Called with what is short, in words, and with None once that leaves enough. What was told stays
            so long, though another bound gets tighter: two of them would take turns for ever.
        bounds: Returns the bounds of this moment.
    """

    def __init__(
        self,
        tell: Callable[[str | None], None],
        bounds: Callable[[], Sequence[MemoryBound]] = memory_bounds,
    ) -> None:
        self._tell, self._bounds = tell, bounds
        self._short: str | None = None
        """The group that is short, "" for the machine."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="memory-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def step(self) -> None:
        """Look once."""
        bounds = self._bounds()
        told = next((bound for bound in bounds if _whose(bound) == self._short), None)
        if not bounds or (told is not None and told.share_left < ENOUGH):
            return
        tightest = min(bounds, key=lambda bound: bound.share_left)
        if tightest.share_left < SHORT:
            self._short = _whose(tightest)
            words = _words(tightest)
            logger.warning("%s", words, extra={"event": "memory_short"})
            self._tell(words)
        elif self._short is not None:
            self._short = None
            logger.info("there is enough memory again", extra={"event": "memory_enough"})
            self._tell(None)

    def _main(self) -> None:
        while not self._stop.wait(POLL_S):
            self.step()


def _whose(bound: MemoryBound) -> str:
    return bound.group or ""


def _words(bound: MemoryBound) -> str:
    left = f"memory is short: {bound.available_bytes // MIB} of {bound.limit_bytes // MIB} MiB are left"
    return left if bound.group is None else f"{left} to control group {bound.group}"
