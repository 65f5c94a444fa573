"""States that the broker keeps for late subscribers: the newest of each topic, until it has confirmed it."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from edge_app.publish.traffic import Message


class RetainedStates:
    """The newest message of each retained topic, and which of them the broker still has to hear or confirm.

    While there is no connection a newer state replaces the older; each new connection gets all of them,
    because the broker may have forgotten them, or published our will. A topic that is retired has had its
    last word: once the broker has that, it is forgotten, and no later connection hears of it. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, Message] = {}
        self._unsent: dict[str, None] = {}
        self._unconfirmed: dict[str, Message] = {}
        self._retired: set[str] = set()
        """Topics that are forgotten as soon as the broker has their newest message."""

    def put(self, message: Message) -> None:
        """Make `message` the state of its topic, which is in use from now on, retired or not."""
        with self._lock:
            self._retired.discard(message.topic)
            self._newest[message.topic] = message
            self._unsent[message.topic] = None

    def retire(self, topics: Iterable[str]) -> None:
        """The last word on these topics has been said; those that the broker has are forgotten at once."""
        with self._lock:
            for topic in topics:
                if topic in self._newest:
                    self._retired.add(topic)
                    self._forget_if_done(topic)

    def resend_all(self) -> None:
        """A new connection: the broker hears everything again."""
        with self._lock:
            self._unsent = dict.fromkeys(self._newest)
            self._unconfirmed.clear()

    def resend(self, topics: Iterable[str]) -> None:
        """The states of these topics are wanted once more."""
        with self._lock:
            self._unsent |= {topic: None for topic in topics if topic in self._newest}

    def take(self) -> Message | None:
        """Return the next state to send, or None; it counts as unconfirmed from now on."""
        if not self._unsent:
            return None
        with self._lock:
            topic = next(iter(self._unsent))
            del self._unsent[topic]
            message = self._unconfirmed[topic] = self._newest[topic]
            return message

    def confirmed(self, message: Message) -> None:
        """The broker has `message`; an older one of its topic that is confirmed late changes nothing."""
        with self._lock:
            if self._unconfirmed.get(message.topic) is message:
                del self._unconfirmed[message.topic]
                self._forget_if_done(message.topic)

    def settled(self) -> bool:
        """Whether the broker has confirmed the newest state of every topic."""
        with self._lock:
            return not self._unsent and not self._unconfirmed

    def _forget_if_done(self, topic: str) -> None:
        """Forget a retired topic that the broker has. The lock is held."""
        if topic in self._retired and topic not in self._unsent and topic not in self._unconfirmed:
            self._retired.discard(topic)
            del self._newest[topic]
