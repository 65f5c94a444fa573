"""What whoever ends the process has yet to say."""

from __future__ import annotations

import threading
from collections.abc import Callable

SAYING_S = 0.5
"""So long it is waited for: the log or a disk may be what hangs."""


def say_briefly(say: Callable[[], None]) -> None:
    """Say something, and wait for it no longer than 0.5 s.

    A thread of its own says it: what it locks may be locked by the caller, who was interrupted; and where
    standard error is a pipe that nobody reads, who writes to it keeps the log's lock for ever.

    Raises:
        RuntimeError: There can be no more threads: there are too many, or Python ends.
    """
    saying = threading.Thread(target=say, name="last-words", daemon=True)
    saying.start()
    saying.join(SAYING_S)
