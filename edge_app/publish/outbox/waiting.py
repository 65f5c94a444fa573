"""Messages in memory that wait for the disk."""

from __future__ import annotations

from collections import Counter, deque

from edge_app.publish.outbox.store import NewRow


class WaitingRows:
    """They wait in order; when there is no room, the oldest goes.

    The outbox's lock is held at every call, and while `writing` is read by another thread than the one that
    writes.

    Args:
        most: How many wait; beyond it the disk counts as unwritable.
        group: Most that are written together.

    Attributes:
        writing: Taken out, and not on disk yet.
    """

    def __init__(self, most: int, group: int) -> None:
        self._most, self._group = most, group
        self._rows: deque[NewRow] = deque()
        self.writing: list[NewRow] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    @property
    def room(self) -> bool:
        """Whether one more may wait."""
        return len(self._rows) < self._most

    @property
    def count(self) -> int:
        """How many are not on disk yet."""
        return len(self._rows) + len(self.writing)

    @property
    def size_bytes(self) -> int:
        """What these count as, of the bound."""
        return sum(row.size_bytes for row in (*self._rows, *self.writing))

    def add(self, row: NewRow) -> NewRow | None:
        """Let one wait; return the one that goes for it, if one must."""
        room = self.room
        self._rows.append(row)
        return None if room else self._rows.popleft()

    def take(self) -> None:
        """Take the next ones out, to be written."""
        self.writing = [self._rows.popleft() for _ in range(min(self._group, len(self._rows)))]

    def put_back(self) -> None:
        """They could not be written."""
        self._rows.extendleft(reversed(self.writing))
        self.writing = []

    def give_up(self) -> Counter[str]:
        """Nothing is written any more; return how many are lost by that, by camera."""
        left = Counter(row.camera for row in (*self.writing, *self._rows))
        self._rows.clear()
        self.writing = []
        return left
