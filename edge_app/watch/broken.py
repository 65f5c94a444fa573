"""Messages that cannot be understood: counted, told once for each topic, and never a reason to end."""

from __future__ import annotations

import logging
from collections import Counter

logger = logging.getLogger(__name__)

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""What a payload raises that is JSON of other types, sizes or fields than the contract's."""
MOST_TOPICS = 1000
"""So many topics are told of by name: whoever may publish must not fill our memory."""


class BrokenMessages:
    """How many there were."""

    def __init__(self) -> None:
        self._by_topic: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._by_topic.total()

    def count(self, topic: str, error: Exception) -> None:
        """Count one; `error` is what it raised."""
        if topic in self._by_topic or len(self._by_topic) >= MOST_TOPICS:
            self._by_topic[topic if topic in self._by_topic else ""] += 1
            return
        self._by_topic[topic] = 1
        logger.warning("cannot understand a message on %.300s (%s)", ascii(topic)[1:-1], type(error).__name__)
