"""Signals: the first asks the daemon to stop, a second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

SIGNAL_STATUS = 128
"""Exit status of a process ended by signal n is this plus n, as shells count."""


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` on SIGTERM or SIGINT; when it is set already, end the process at once."""

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(SIGNAL_STATUS + number)
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
