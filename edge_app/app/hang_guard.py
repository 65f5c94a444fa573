"""What becomes of a daemon with a part that hangs: its end, in order if that can be, but surely and soon."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial

from edge_app.capture.cameras import SUPERVISOR, CameraGroup
from edge_app.errors import EXIT_FAILURE, StageHungError
from edge_app.ops.last_words import say_briefly
from edge_app.ops.progress import Part, ProgressWatch
from edge_app.ops.run_record import RunRecord
from edge_app.ops.sd_notify import notify
from edge_app.pipeline.street import DEADLINE_S, Street
from edge_app.publish.connection import BROKER_THREAD
from edge_app.publish.publisher import MqttPublisher

logger = logging.getLogger("edge_app.app.daemon")  # the log calls it the daemon, wherever its parts stand

LAST_RESORT_S = 8.0
"""After so long a process with a stage that hangs ends, whatever else it was about to do."""

WATCHDOG_TRIGGER = "WATCHDOG=trigger"
"""Has the service manager do what it does when WATCHDOG=1 does not come; sd_notify(3)."""


def parts_to_watch(cameras: CameraGroup, street: Street, publisher: MqttPublisher) -> list[Part]:
    """Return what must get on; a camera, or a broker, that is away is not among it."""
    return [
        Part("capture", SUPERVISOR, lambda: DEADLINE_S, cameras.sign),
        *street.parts(),
        Part("publisher", BROKER_THREAD, lambda: DEADLINE_S, publisher.sign),
    ]


class HangGuard:
    """Watches the parts of the daemon, and ends the process when one of them hangs.

    Args:
        record: Told of it before anything else is.

    Attributes:
        hung: Whether one does.
    """

    def __init__(self, record: RunRecord) -> None:
        self.hung = False
        self._record = record
        self._progress: ProgressWatch | None = None
        self._fail: Callable[[str, BaseException], None] = lambda *_: None
        self._tell: Callable[[str], None] = lambda _: None

    def start(
        self,
        parts: Sequence[Part],
        fail: Callable[[str, BaseException], None],
        tell: Callable[[str], None],
    ) -> None:
        """Begin to watch.

        Args:
            parts: Whom to watch.
            fail: Begins the end in order; gets the name of what hangs, and the error.
            tell: Has the service manager hear what hangs, and nothing else after that.
        """
        self._fail, self._tell = fail, tell
        self._progress = ProgressWatch(parts, self._hangs)
        self._progress.start()

    def stop(self) -> None:
        """Watch no more."""
        if self._progress is not None:
            self._progress.stop()

    def gets_on(self) -> bool:
        """Whether every part does; False until they are watched."""
        return self._progress is not None and self._progress.well()

    def call_watchdog(self) -> None:
        """Tell the service manager, as the last word, if the daemon ends because a part hangs."""
        if self.hung:
            notify(WATCHDOG_TRIGGER)

    def _hangs(self, part: Part, idle_s: float) -> None:
        """End the process: in order if that can be, and surely after a while."""
        self.hung = True
        error = StageHungError(part.name, idle_s)
        last_resort = threading.Timer(LAST_RESORT_S, _end_at_once)
        last_resort.daemon = True
        last_resort.start()
        self._record.failed(error)  # the disk may be what hangs
        self._tell(error.message)
        self._fail(part.name, error)


def _end_at_once() -> None:
    try:
        notify(WATCHDOG_TRIGGER)
        say_briefly(partial(logger.critical, "what hangs keeps the process from its end, which comes now"))
    finally:
        os._exit(EXIT_FAILURE)
