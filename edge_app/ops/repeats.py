"""Log lines that repeat themselves: the first few are shown, then how many there were."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from edge_app.ops.log_fields import camera_of

BURST = 10
"""So many lines that are alike are shown within a window. A build tells of its progress six times in it."""
WINDOW_S = 60.0
MOST_KINDS = 1000
"""More kinds of lines are not remembered at a time."""

_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")
_SHAPE_CHARS = 300


@dataclass(slots=True)
class _Kind:
    until_s: float
    shown: int = 0
    left_out: int = 0
    last: logging.LogRecord | None = None


class RepeatLimit(logging.Handler):
    """Passes records on to another handler, of those that are alike only a few.

    Alike are records of one logger, level and camera whose words differ in nothing but numbers. Debug records
    are all shown, for whoever asked for them, and so are critical ones.

    Args:
        target: Gets what is shown.
        burst: So many that are alike are shown within a window.
        window_s: Its length, in seconds; at its end follows how many were left out.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        target: logging.Handler,
        burst: int = BURST,
        window_s: float = WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.left_out = 0
        self._target, self._burst, self._window_s, self._clock = target, burst, window_s, clock
        self._kinds: dict[Hashable, _Kind] = {}
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on, or count it; called with the handler's lock."""
        try:
            shows = self._shows(record)
        except Exception:  # noqa: BLE001 - its words do not fit its arguments: the target says so
            shows = True
        if shows:
            self._target.handle(record)

    def tell_all(self) -> None:
        """Tell of everything that was left out so far."""
        self._summarize(float("inf"))

    def flush(self) -> None:
        """Tell of what was left out in windows that are over."""
        self._summarize(self._clock())
        self._target.flush()

    def close(self) -> None:
        """Tell of everything that was left out."""
        self.tell_all()
        self._target.close()
        super().close()

    def _shows(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.DEBUG or record.levelno >= logging.CRITICAL:
            return True
        now_s = self._clock()
        shape = _NUMBERS.sub("#", record.getMessage()[:_SHAPE_CHARS])
        key = (record.name, record.levelno, camera_of(record), shape)
        kind = self._kinds.get(key)
        if kind is None or now_s >= kind.until_s:
            self._summarize(now_s if len(self._kinds) < MOST_KINDS else float("inf"))
            kind = self._kinds[key] = _Kind(now_s + self._window_s)
        if kind.shown < self._burst:
            kind.shown += 1
            return True
        kind.left_out += 1
        kind.last = record
        self.left_out += 1
        self._tell_later()
        return False

    def _summarize(self, now_s: float) -> None:
        """Forget the kinds whose window is over, and tell of what was left out of them."""
        self.acquire()
        try:
            over = [key for key, kind in self._kinds.items() if kind.until_s <= now_s]
            for key in over:
                kind = self._kinds.pop(key)
                if kind.last is not None:
                    self._target.handle(_summary(kind.last, kind.left_out, self._window_s))
        finally:
            self.release()

    def _tell_later(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._window_s, self._tell)
            self._timer.daemon = True
            self._timer.start()

    def _tell(self) -> None:
        self.acquire()
        try:
            self._timer = None
            self._summarize(self._clock())
            if any(kind.left_out for kind in self._kinds.values()):
                self._tell_later()
        finally:
            self.release()


def _summary(last: logging.LogRecord, count: int, window_s: float) -> logging.LogRecord:
    """Return a record like the last one that was left out, with its words and how many there were."""
    words = f"{last.getMessage()} (the last of {count} more like it that were left out in {window_s:.0f} s)"
    summary = logging.makeLogRecord(last.__dict__)
    # The template stays for those who look at it for the camera.
    summary.msg, summary.exc_info, summary.exc_text, summary.stack_info = last.msg, None, None, None
    summary.getMessage = lambda: words  # type: ignore[method-assign]
    return summary
