"""A bounded queue between two stages.

Inside the street nothing is dropped: a full channel makes the sender wait.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from edge_app.errors import ChannelClosed

T = TypeVar("T")


class Channel(Generic[T]):
    """First in, first out, at most `capacity` items; closing lets the receiver drain what is inside."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, found {capacity}")
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._closed = False
        lock = threading.Lock()
        self._not_empty = threading.Condition(lock)
        self._not_full = threading.Condition(lock)

    def put(self, item: T) -> None:
        """Append an item, waiting for room. Raises ChannelClosed, also while it waits."""
        with self._not_full:
            self._not_full.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                raise ChannelClosed
            self._items.append(item)
            self._not_empty.notify()

    def get(self) -> T:
        """Remove and return the oldest item, waiting for one. Raises ChannelClosed when closed and empty."""
        with self._not_empty:
            self._not_empty.wait_for(lambda: self._closed or self._items)
            if not self._items:
                raise ChannelClosed
            item = self._items.popleft()
            self._not_full.notify()
            return item

    def close(self) -> None:
        """Accept no more items. Idempotent."""
        with self._not_empty:
            self._closed = True
            self._not_empty.notify_all()
            self._not_full.notify_all()

    def __len__(self) -> int:
        with self._not_empty:
            return len(self._items)
