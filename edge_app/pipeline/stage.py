"""One stage of the street: a thread that is never lost without a word."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from edge_app.errors import ChannelClosed

T = TypeVar("T")

POLL_S = 0.1
"""How soon it is noticed that a call is no longer wanted."""

OnFailure = Callable[[str, BaseException], None]
"""Gets the name of the stage and what went wrong."""


class Stage(threading.Thread):
    """Runs `body` until it returns or raises ChannelClosed; anything else it raises is a failure.

    A daemon thread: a stage that hangs in a driver must not keep the process from ending.

    Attributes:
        through: Whether the body has come to its end, for want of frames or because the street was closed.
    """

    def __init__(
        self,
        name: str,
        body: Callable[[], None],
        on_failure: OnFailure,
        *,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._body = body
        self._on_failure = on_failure
        self._on_end = on_end
        self.through = False

    def run(self) -> None:
        """Run the body; called by the thread itself."""
        try:
            self._body()
            self.through = True
        except ChannelClosed:
            self.through = True
        except BaseException as error:  # noqa: BLE001 - whatever it is, the process must hear of it
            self._on_failure(self.name, error)
        finally:
            self._on_end()


def unless_stopped(stop: threading.Event, name: str, call: Callable[[], T]) -> T | None:
    """Return what `call` returns or raise what it raises; None if `stop` is set before that.

    A call that gives up because of `stop` has not failed.

    It runs on a daemon thread of that name, which is then left behind: nothing else ends the loading of a
    model in time.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    while not stop.is_set():
        if wait([future], POLL_S).done:
            if stop.is_set() and future.exception() is not None:
                break  # it was cancelled by what stops us, or nobody wants it any more
            return future.result()
    return None
