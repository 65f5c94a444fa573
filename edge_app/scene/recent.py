"""Things that are costly to make and can be made again: those used last are kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class Recent(Generic[KeyT, ValueT]):
    """Remembers a number of values; a street goes on for months, and its memory must not.

    Args:
        most: How many; of more, the one that was not asked for longest goes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[KeyT, ValueT] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: KeyT, make: Callable[[], ValueT]) -> ValueT:
        """Return the value of `key`, made if it is not remembered."""
        value = self._values.pop(key) if key in self._values else make()
        self._values[key] = value  # the newest stands last
        if len(self._values) > self._most:
            del self._values[next(iter(self._values))]
        return value
