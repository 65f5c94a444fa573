"""What the world hears while an engine is built: the log, the node's status, the service manager."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from edge_app.engine.events import BuildEvent, EventKind
from edge_app.ops.sd_notify import notify

logger = logging.getLogger(__name__)

STATUS_EVERY_S = 2.0
LOG_EVERY_S = 10.0
EXTENSION_S = 90
"""A build speaks at least every 10 s; the service manager waits for so long for the next word."""


class BuildWatch:
    """An `EventSink` that passes on what people want to know, and not more often than they want to.

    Called by one thread.

    Args:
        name: Name of the model.
        tell: Gets the reason why the node is not running yet.
        clock: Seconds that only grow.
    """

    def __init__(
        self, name: str, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._tell = tell
        self._clock = clock
        self._percent: float | None = None
        self._told_at_s = self._logged_at_s = -float("inf")

    def __call__(self, event: BuildEvent) -> None:
        """Take one event."""
        if event.kind is EventKind.LOG:
            logger.warning("TensorRT: %s", event.text)
        elif event.kind is EventKind.NOTE:
            logger.info("engine of %s: %s", self._name, event.text)
        elif event.kind is EventKind.RESULT:
            self._percent = None
            words = "engine of %s: built in %.1f s"
            logger.info(words, self._name, event.elapsed_s, extra={"event": "engine_built"})
        elif event.kind is not EventKind.FAILED:  # whoever asked for the engine gets that as an error
            self._advance(event)

    def _advance(self, event: BuildEvent) -> None:
        self._percent = self._percent if event.percent is None else event.percent
        percent = "" if self._percent is None else f"{self._percent:.0f} %"
        now_s = self._clock()
        if event.kind is EventKind.PHASE or now_s - self._logged_at_s >= LOG_EVERY_S:
            self._logged_at_s = now_s
            done = f" ({percent})" if percent else ""
            logger.info("engine of %s: %s%s, %.0f s", self._name, event.text, done, event.elapsed_s)
        if now_s - self._told_at_s >= STATUS_EVERY_S:
            self._told_at_s = now_s
            reason = f"building the engine of {self._name}: {percent or event.text}"
            self._tell(reason)
            notify(f"STATUS={reason}", f"EXTEND_TIMEOUT_USEC={EXTENSION_S * 1_000_000}")
