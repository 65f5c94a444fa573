"""Tells what is wrong with an outbox."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class OutboxVoice:
    """Tells each problem once, and once that it works again. Any thread.

    Args:
        find: Returns what is wrong now, in words; None: nothing.
        find_lasting: Returns what is to be told while nothing else is; None: nothing.
        changed: Called when what is to be told changes.

    Attributes:
        problem: What is wrong, as it was told.
    """

    def __init__(
        self,
        find: Callable[[], str | None],
        find_lasting: Callable[[], str | None],
        changed: Callable[[str | None], None],
    ) -> None:
        self._find, self._find_lasting, self._changed = find, find_lasting, changed
        self._telling = threading.Lock()
        self._told: str | None = None
        self.problem: str | None = None

    def tell(self) -> None:
        """Tell what is wrong, if it is something else than before."""
        with self._telling:
            words = self._find()
            if words != self.problem:
                self.problem = words
                if words is None:
                    logger.info("the outbox works again", extra={"event": "outbox_works"})
                else:
                    logger.error("%s", words, extra={"event": "outbox_fails"})
            told = words or self._find_lasting()
            if told != self._told:
                self._told = told
                self._changed(told)
