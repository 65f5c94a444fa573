"""What a broker lets us feel although it is there: told on the node's own state, which still gets through."""

from __future__ import annotations

from collections.abc import Callable


class BrokerTroubles:
    """Keeps what is wrong, and tells when that changes. Called by the connection's thread.

    Args:
        tell: Called with what is wrong, in words, and with None when nothing is any more.
    """

    def __init__(self, tell: Callable[[str | None], None]) -> None:
        self._tell = tell
        self._breaking: str | None = None
        self._denied: dict[str, str] = {}
        self._told: str | None = None

    def breaks(self, words: str) -> None:
        """Connections break again and again."""
        self._breaking = words
        self._look()

    def lasts(self) -> None:
        """A connection has lasted."""
        if self._breaking is not None:
            self._breaking = None
            self._look()

    def forget(self) -> None:
        """It is another broker from now on."""
        self._breaking = None
        self._denied.clear()
        self._look()

    def denies(self, topic: str, words: str) -> None:
        """The broker does not take a topic."""
        self._denied[topic] = words
        self._look()

    def takes(self, topic: str) -> None:
        """The broker takes a topic."""
        if self._denied and self._denied.pop(topic, None) is not None:
            self._look()

    def _look(self) -> None:
        words = [] if self._breaking is None else [self._breaking]
        if self._denied:
            topic, why = next(iter(self._denied.items()))
            others = f" and {len(self._denied) - 1} more" if len(self._denied) > 1 else ""
            words.append(f"the broker refuses topic {topic}{others}: {why}")
        told = ", ".join(words) or None
        if told != self._told:
            self._told = told
            self._tell(told)
