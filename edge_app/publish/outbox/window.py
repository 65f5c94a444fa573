"""What of an outbox is on its way to the broker, and what goes next."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_app.publish.outbox.reader import RowReader
from edge_app.publish.outbox.store import StoredRow
from edge_app.publish.traffic import Message

REFUSED_PAUSE_S = 30.0
"""How long a topic that the broker refuses is left alone."""
LATE_S = 5.0
"""What is sent so long after it was stored is marked as replayed."""
NOT_REPLAYED, REPLAYED = b'"replayed":false', b'"replayed":true'


@dataclass(frozen=True, slots=True)
class StoredMessage(Message):
    """A message of the outbox on its way to the broker."""

    camera: str = ""
    position: int = 0
    generation: int = 0
    """Which database it came from: after a damaged one was set aside, positions begin again."""


class SendWindow:
    """Says what is sent, and knows what of it is not confirmed, or not deleted yet.

    The outbox's lock is held at every call, and while an attribute is changed.

    Args:
        most: Most messages that are on their way at a time, those included that are to be deleted yet.
        clock_s: See `OutboxStore`.
        rows: What is on disk, in order.

    Attributes:
        done: Positions of what the broker has, to be deleted on disk.
        unfit: What the broker will never take, by position: the reason.
        refused: Position and words of what the broker did not take.
        dropping: While the oldest go nothing is taken: what is on its way must not be among them.
    """

    def __init__(self, most: int, clock_s: Callable[[], float], rows: RowReader) -> None:
        self._most, self._clock_s, self._rows = most, clock_s, rows
        self.done: list[int] = []
        self.unfit: dict[int, str] = {}
        self.refused: tuple[int, str] | None = None
        self.dropping = False
        self._generation = 0
        self._connected = False
        self._taken_position = 0
        """Of the last row that was taken: up to it none comes again, unless it is looked again."""
        self._acknowledged: set[int] = set()
        """Confirmed, and perhaps among the rows that come."""
        self._sent: dict[int, StoredMessage] = {}
        self._ever_sent = 0
        """Up to this position everything was sent at least once, or may have been before a restart."""
        self._paused_until_s = 0.0

    def begin(self, last_position: int) -> None:
        """A database was opened, which holds rows up to a position."""
        self._generation += 1
        self.done.clear()
        self.unfit.clear()
        self.refused = None
        self._ever_sent = last_position
        self._rewind()

    def connected(self) -> None:
        """A connection has begun: everything that is not confirmed goes out again, from the oldest on."""
        self._connected = True
        self._rewind()

    def disconnected(self) -> None:
        """It has ended."""
        self._connected = False
        self._rewind()

    def forgive(self) -> None:
        """What was refused may be taken by another broker: nothing is left alone any longer."""
        self._paused_until_s, self.refused = 0.0, None

    @property
    def leaves(self) -> bool:
        """Whether anything is to be taken off the disk."""
        return bool(self.done or self.unfit)

    def look(self) -> None:
        """There are new rows."""
        if self._connected:
            self._rows.look()

    def take(self) -> StoredMessage | None:
        """Return the next message to send, or None."""
        if not self._may_send():
            return None
        while (row := self._rows.next()) is not None:
            self._taken_position = row.position
            if row.position in self._acknowledged:
                self._acknowledged.discard(row.position)
            elif row.position not in self._sent:
                return self._send(row)
        return None

    def take_out(self, message: StoredMessage, unfit: str | None) -> bool:
        """A message may go, or is `unfit` for the reason given; return False if it was not on its way."""
        if not self._comes_back(message):
            return False
        if unfit is None:
            self.done.append(message.position)
        else:
            self.unfit[message.position] = unfit
        if message.position > self._taken_position:
            self._acknowledged.add(message.position)
        if self.refused is not None and self.refused[0] == message.position:
            self.refused = None
        return True

    def refuse(self, message: StoredMessage, reason: str) -> bool:
        """The broker does not take a message; return False if it was not on its way."""
        if not self._comes_back(message):
            return False
        self._paused_until_s = time.monotonic() + REFUSED_PAUSE_S
        self.refused = (message.position, f"the broker refuses topic {message.topic}: {reason}")
        self._look_again()
        return True

    def last_on_its_way(self) -> int:
        """Return the position up to which nothing may be dropped: it is on its way, or confirmed."""
        return max((*self._sent, *self.done, *self.unfit), default=0)

    def dropped_above(self, position: int) -> None:
        """Rows above a position were dropped: what is to be sent is read again."""
        self._look_again()
        if self.refused is not None and self.refused[0] > position:
            self.refused = None

    def _look_again(self) -> None:
        """Read again from the beginning what is to be sent."""
        self._rows.rewind()
        self._taken_position = 0
        # What is deleted by now is not read any more.
        self._acknowledged = {*self.done, *self.unfit}

    def _rewind(self) -> None:
        """Begin again with the oldest row that is not confirmed."""
        self._sent.clear()
        self._look_again()

    def _comes_back(self, message: StoredMessage) -> bool:
        return message.generation == self._generation and self._sent.pop(message.position, None) is not None

    def _may_send(self) -> bool:
        room = len(self._sent) + len(self.done) + len(self.unfit) < self._most
        may = self._connected and not self.dropping
        return may and room and time.monotonic() >= self._paused_until_s

    def _send(self, row: StoredRow) -> StoredMessage:
        late = row.position <= self._ever_sent or self._clock_s() - row.stored_s > LATE_S
        self._ever_sent = max(self._ever_sent, row.position)
        payload = row.payload.replace(NOT_REPLAYED, REPLAYED, 1) if late else row.payload
        message = StoredMessage(
            row.topic,
            payload,
            qos=1,
            camera=row.camera,
            position=row.position,
            generation=self._generation,
        )
        self._sent[row.position] = message
        return message
