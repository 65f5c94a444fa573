"""Short sleeps that end in time."""

from __future__ import annotations

import ctypes
import threading

PR_SET_TIMERSLACK = 29
SLACK_NS = 1000

_thread = threading.local()


def sleep_precisely() -> None:
    """Let sleeps of this thread end within microseconds: Linux may prolong them by 50 unless told otherwise.

    See prctl(2), PR_SET_TIMERSLACK. Where it is not allowed, sleeps are as long as before.
    """
    if not getattr(_thread, "told", False):
        _thread.told = True
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(SLACK_NS), 0, 0, 0)
