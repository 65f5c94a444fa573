"""Whether a broker of MQTT 3.1.1, which does not say what it refuses, hands our own words back to us."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from edge_app.publish.refusal import RepeatFilter

ECHO_S = 5.0
"""So long after the broker has confirmed it, our status should have come back."""

logger = logging.getLogger(__name__)


class EchoCheck:
    """Waits for one topic to come back over one connection, and says so if it does not.

    Args:
        topic: A retained topic of ours; None: nothing is checked.
        clock: Seconds that only grow.
    """

    def __init__(self, topic: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._topic = topic
        self._clock = clock
        self._due_s: float | None = None
        self._came = False

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """What must be subscribed for it."""
        return () if self._topic is None else (self._topic,)

    def confirmed(self, topic: str) -> None:
        """The broker says that it has a message of ours, which it says of those that it throws away too."""
        if topic == self._topic and not self._came and self._due_s is None:
            self._due_s = self._clock() + ECHO_S

    def takes(self, topic: str) -> bool:
        """A message has come; return whether it was the echo, and nobody else's business."""
        if topic != self._topic:
            return False
        self._came, self._due_s = True, None
        return True

    def look(self, repeats: RepeatFilter) -> None:
        """Log it if the echo is overdue."""
        if self._due_s is None or self._clock() < self._due_s:
            return
        self._due_s, self._came = None, True  # once for each connection
        if repeats.allows(f"echo {self._topic}"):
            logger.warning(
                "the broker confirmed topic %s and does not hand it back: its access control may refuse what "
                "we publish, or that we read it; MQTT 3.1.1 cannot say which [not_confirmed]",
                self._topic,
            )
