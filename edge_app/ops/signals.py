"""Signals: the first asks the daemon to stop, a second one ends it at once; SIGHUP has it reload."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from edge_app.ops.last_words import say_briefly

SIGNAL_STATUS = 128
"""Exit status of a process ended by signal n is this plus n, as shells count."""


def stop_on_signals(stop: threading.Event, last_word: Callable[[], None] = lambda: None) -> None:
    """Set `stop` on SIGTERM or SIGINT; when it is set already, end the process at once.

    Args:
        stop: Asks for an end in order.
        last_word: Called before an end at once, and not waited for long.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            try:
                say_briefly(last_word)
            finally:
                os._exit(SIGNAL_STATUS + number)
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def reload_on_hangup(reload: threading.Event, stop: threading.Event) -> None:
    """Set `reload` on SIGHUP; or `stop`, if it means that our terminal was closed."""
    had_terminal = sys.stderr is not None and sys.stderr.isatty()

    def handle(_number: int, _frame: FrameType | None) -> None:
        (stop if had_terminal and not _has_terminal() else reload).set()

    signal.signal(signal.SIGHUP, handle)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError:
        return False
    return True
