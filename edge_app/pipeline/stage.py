"""One stage of the street: a thread that is never lost without a word."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge_app.errors import ChannelClosed

OnFailure = Callable[[str, BaseException], None]
"""Gets the name of the stage and what went wrong."""


class Stage(threading.Thread):
    """Runs `body` until it returns or its channel closes; anything else it raises is a failure.

    A daemon thread: a stage that hangs in a driver must not keep the process from ending.
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

    def run(self) -> None:
        """Run the body; called by the thread itself."""
        try:
            self._body()
        except ChannelClosed:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the process must hear of it
            self._on_failure(self.name, error)
        finally:
            self._on_end()
