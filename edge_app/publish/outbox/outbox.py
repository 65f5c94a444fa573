"""The outbox: what must arrive waits on disk, goes out in order, and is deleted when the broker has it.

    put ──▶ waiting ──▶ commit on disk ──▶ sent (at most a window) ──▶ PUBACK ──▶ deleted on disk

Nothing is sent before it is on disk, so what a subscriber has seen was never lost with this process. A window
counts what was sent until its deletion is on disk: what comes twice after a crash is at most one window.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_app.interfaces import DropObserver
from edge_app.messages import DropReason
from edge_app.publish.outbox.state import OutboxState
from edge_app.publish.outbox.store import NewRow, OutboxStore, StoredRow, UnusableStoreError, boot_s
from edge_app.publish.traffic import Message

logger = logging.getLogger(__name__)

GROUP = 256
"""Most messages of one commit."""
MOST_WAITING = 4096
"""Messages in memory that wait for the disk; beyond it the disk counts as unwritable."""
READ_AHEAD = 64
TICK_S = 0.5
"""How often ages are looked at."""
RETRY_S = 5.0
"""How soon a disk that could not be written is tried again."""
STALL_S = 1.0
"""A producer that may wait for room does so no longer."""
REFUSED_PAUSE_S = 30.0
"""How long a topic that the broker refuses is left alone."""
LATE_S = 5.0
"""What is sent so long after it was stored is marked as replayed."""
PASSING = ("full", "readonly", "locked")
"""Words of errors that need no new look at the file."""
NOT_REPLAYED, REPLAYED = b'"replayed":false', b'"replayed":true'


@dataclass(frozen=True, slots=True)
class OutboxBounds:
    """What an outbox may hold.

    Attributes:
        max_bytes: Of messages; the oldest go first.
        max_age_s: Older messages go, in seconds.
        window: Most messages that are on their way at a time.
    """

    max_bytes: int = 256 << 20
    max_age_s: float = 7 * 86400.0
    window: int = 16


@dataclass(frozen=True, slots=True)
class StoredMessage(Message):
    """A message of the outbox on its way to the broker."""

    position: int = 0
    generation: int = 0
    """Which database it came from: after a damaged one was set aside, positions begin again."""


class Outbox:
    """Keeps messages until the broker has confirmed them.

    `put` may be called by any thread, never waits for the disk and never raises. `connected`, `disconnected`,
    `take`, `confirmed` and `refused` are called by the connection's thread. A thread of its own writes.

    Args:
        path: The database; its directory is made.
        bounds: What it may hold.
        synced: Whether what was committed survives the loss of power, not only the death of the process.
        drops: Told of every message that goes no further.
        wake: Called when there is something to send.
        changed: Called when `problem` changes, with it.
        clock_s: See `OutboxStore`.
        unix_s: See `OutboxStore`.

    Attributes:
        problem: Why messages are not kept or not taken, in words; None while all is well.
        writable: Whether messages can be kept now; those put meanwhile wait in memory.
    """

    def __init__(
        self,
        path: Path,
        bounds: OutboxBounds,
        *,
        synced: bool,
        drops: DropObserver,
        wake: Callable[[], None],
        changed: Callable[[str | None], None] = lambda _: None,
        clock_s: Callable[[], float] = boot_s,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._bounds, self._synced = path, bounds, synced
        self._drops, self._wake, self._changed = drops, wake, changed
        self._clock_s, self._unix_s = clock_s, unix_s
        self._lock = threading.Condition()
        self._reading = threading.Lock()
        """Held while rows are read: the file is not closed meanwhile."""
        self._waiting: deque[NewRow] = deque()
        self._done: list[int] = []
        self._store: OutboxStore | None = None
        self._generation = 0
        self._lock_file: int | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._write, name="outbox", daemon=True)
        # Of the connection's thread:
        self._connected = False
        self._ahead: deque[StoredRow] = deque()
        self._read_position = 0
        self._acknowledged: set[int] = set()
        """Confirmed, and perhaps among the rows read ahead."""
        self._sent: dict[int, StoredMessage] = {}
        self._ever_sent = 0
        """Up to this position everything was sent at least once, or may have been before a restart."""
        self._paused_until_s = 0.0
        self.problem: str | None = None
        self.writable = True

    def start(self) -> None:
        """Open the file and begin to write; returns at once."""
        self._thread.start()

    def put(self, camera_id: str, topic: str, payload: bytes, *, wait: bool = False) -> None:
        """Keep a message; `wait`: for room, but not for long. When there is none, the oldest goes."""
        victim: NewRow | None = None
        with self._lock:
            if wait and not self._stopping:
                self._lock.wait_for(lambda: len(self._waiting) < MOST_WAITING or self._stopping, STALL_S)
            self._waiting.append(NewRow(topic, camera_id, payload))
            if len(self._waiting) > MOST_WAITING:
                victim = self._waiting.popleft()
            self._lock.notify_all()
        if victim is not None:
            self._drops.dropped(victim.camera, DropReason.OUTBOX_UNWRITABLE)

    def state(self) -> OutboxState:
        """Return what it holds now."""
        with self._lock:
            store = self._store
            waiting = len(self._waiting)
            waiting_bytes = sum(row.size_bytes for row in self._waiting)
            if store is None:
                return OutboxState(waiting, waiting, waiting_bytes, None, self.problem)
            count, size_bytes = store.count + waiting, store.size_bytes + waiting_bytes
        try:
            with self._reading:
                oldest_s = store.oldest_s()
        except sqlite3.Error:
            oldest_s = None
        return OutboxState(count, waiting, size_bytes, oldest_s, self.problem)

    def stop(self, timeout_s: float = 2.0) -> None:
        """Write what waits, and close the file. What could not be written in time is counted as dropped."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        with self._lock:
            left = Counter(row.camera for row in self._waiting)
            self._waiting.clear()
        self._count(left, DropReason.OUTBOX_UNWRITABLE)

    def connected(self) -> None:
        """A connection has begun: everything that is not confirmed goes out again, from the oldest on."""
        with self._lock:
            self._connected = True
            self._rewind()

    def disconnected(self) -> None:
        """It has ended."""
        with self._lock:
            self._connected = False
            self._rewind()

    def take(self) -> StoredMessage | None:
        """Return the next message to send, or None."""
        self._read_ahead()
        with self._lock:
            store = self._store
            if store is None or not self._may_send():
                return None
            while self._ahead:
                row = self._ahead.popleft()
                if row.position > store.dropped_through and row.position not in self._acknowledged:
                    return self._send(row)
            return None

    def confirmed(self, message: StoredMessage) -> None:
        """The broker has a message: it may go."""
        with self._lock:
            if message.generation != self._generation or self._sent.pop(message.position, None) is None:
                return
            self._done.append(message.position)
            self._acknowledged.add(message.position)
            self._lock.notify_all()

    def refused(self, message: StoredMessage, reason: str) -> None:
        """The broker does not take a message: it stays, and all wait a while, for the order's sake."""
        with self._lock:
            if message.generation != self._generation or message.position not in self._sent:
                return
            self._paused_until_s = time.monotonic() + REFUSED_PAUSE_S
            self._rewind()
        self._set_problem(f"the broker refuses topic {message.topic}: {reason}")

    def settled(self) -> bool:
        """Whether nothing waits for the broker, or for the disk."""
        with self._lock:
            empty = self._store is None or self._store.count == 0
            return empty and not self._waiting and not self._done

    def _may_send(self) -> bool:
        room = len(self._sent) + len(self._done) < self._bounds.window
        paused = self._paused_until_s and time.monotonic() < self._paused_until_s
        return self._connected and room and not paused

    def _send(self, row: StoredRow) -> StoredMessage:
        self._read_position = row.position
        late = row.position <= self._ever_sent or self._clock_s() - row.stored_s > LATE_S
        self._ever_sent = max(self._ever_sent, row.position)
        payload = row.payload.replace(NOT_REPLAYED, REPLAYED, 1) if late else row.payload
        message = StoredMessage(row.topic, payload, qos=1, position=row.position, generation=self._generation)
        self._sent[row.position] = message
        return message

    def _read_ahead(self) -> None:
        """Read the next rows, if there are any and they are wanted. `put` does not wait for it."""
        with self._lock:
            store, generation, position = self._store, self._generation, self._read_position
            if store is None or self._ahead or not self._may_send() or store.last_position <= position:
                return
            last_position = store.last_position
            # What is deleted by now is not read any more.
            self._acknowledged.intersection_update(self._done)
        try:
            with self._reading:
                rows = store.after(position, READ_AHEAD)
        except sqlite3.ProgrammingError:  # it was closed in between
            return
        except sqlite3.Error as error:
            self._fail(error)
            return
        with self._lock:
            if generation == self._generation and position == self._read_position:
                self._ahead.extend(rows)
                if not rows:
                    self._read_position = last_position

    def _rewind(self) -> None:
        """Begin again with the oldest row that is not confirmed. The lock is held."""
        self._ahead.clear()
        self._sent.clear()
        self._read_position = 0

    # What follows runs on the outbox's own thread.

    def _write(self) -> None:
        looked_at_s = -TICK_S
        while True:
            with self._lock:
                self._lock.wait_for(self._has_work, TICK_S)
                rows = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
                done = self._done[:]
                stopping = self._stopping
                self._lock.notify_all()
            look = time.monotonic() - looked_at_s >= TICK_S
            looked_at_s = time.monotonic() if look else looked_at_s
            worked = self._work(rows, done, look_at_ages=look)
            if not worked:
                with self._lock:
                    self._waiting.extendleft(reversed(rows))
                    if not stopping:
                        self._lock.wait_for(lambda: self._stopping, RETRY_S)
            if stopping and (not worked or not self._waiting):
                break
        self._close()

    def _has_work(self) -> bool:
        return bool(self._waiting or self._done or self._stopping)

    def _work(self, rows: list[NewRow], done: list[int], *, look_at_ages: bool) -> bool:
        """Bring rows onto the disk and deleted ones off it; return whether that could be done.

        Rows that are on disk are taken out of `rows`.
        """
        expired: Counter[str] = Counter()
        busy = bool(rows or done)
        try:
            store = self._store or self._open()
            if done and self._done:
                store.delete(done)
                with self._lock:
                    del self._done[: len(done)]
            if rows:
                store.append(rows)
                rows.clear()
            if look_at_ages:
                expired = store.drop_older(self._bounds.max_age_s)
            beyond = store.drop_beyond(self._bounds.max_bytes)
        except (sqlite3.Error, UnusableStoreError, OSError) as error:
            self._fail(error)
            return False
        except Exception as error:  # a fault of this file must not stop the video
            logger.exception("the outbox failed")
            self._fail(error)
            return False
        self.writable = True
        self._count(expired, DropReason.OUTBOX_EXPIRED)
        self._count(beyond, DropReason.OUTBOX_FULL)
        if time.monotonic() >= self._paused_until_s:
            self._set_problem(None)
        if busy:
            self._wake()
        return True

    def _open(self) -> OutboxStore:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._lock_file is None:
            self._lock_file = _locked(self._path.with_suffix(".lock"))
        try:
            store = self._opened()
        except UnusableStoreError as error:
            self._set_aside(str(error))
            store = self._opened()
        with self._lock:
            self._store = store
            self._generation += 1
            self._done.clear()
            self._acknowledged.clear()
            self._ever_sent = store.last_position
            self._rewind()
        if store.count:
            logger.info("outbox %s: %d messages of before", self._path, store.count)
        return store

    def _opened(self) -> OutboxStore:
        return OutboxStore(self._path, synced=self._synced, clock_s=self._clock_s, unix_s=self._unix_s)

    def _set_aside(self, why: str) -> None:
        """Keep a file that cannot be used under another name; nothing of it is deleted."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        kept = self._path.with_name(f"{self._path.name}.damaged-{stamp}")
        number = 0
        while kept.exists():
            number += 1
            kept = self._path.with_name(f"{self._path.name}.damaged-{stamp}-{number}")
        for suffix in ("-wal", "-shm", ""):
            part = self._path.with_name(self._path.name + suffix)
            if part.exists():
                part.rename(kept.with_name(kept.name + suffix))
        logger.error("the outbox %s cannot be used and was set aside as %s: %s", self._path, kept.name, why)

    def _fail(self, error: Exception) -> None:
        """Say what is wrong; a damaged file is opened again, which sets it aside."""
        self.writable = False
        passing = isinstance(error, sqlite3.OperationalError) and any(word in str(error) for word in PASSING)
        if not passing:
            self._close_store()
        self._set_problem(f"outbox {self._path}: {_words(error)}")

    def _close_store(self) -> None:
        with self._lock:
            store, self._store = self._store, None
        if store is not None:
            with self._reading:
                store.close()

    def _close(self) -> None:
        self._close_store()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _set_problem(self, words: str | None) -> None:
        if words == self.problem:
            return
        self.problem = words
        if words is None:
            logger.info("the outbox works again")
        else:
            logger.error("%s", words)
        self._changed(words)

    def _count(self, dropped: Counter[str], reason: DropReason) -> None:
        for camera_id, count in dropped.items():
            self._drops.dropped(camera_id, reason, count)


def _locked(path: Path) -> int:
    """Lock a file for this process, and return it. Raises OSError if another one has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise OSError(f"another process uses it ({path})") from None
    return file


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)
