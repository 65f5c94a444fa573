"""The outbox: what must arrive waits on disk, goes out in order, and is deleted when the broker has it.

    put ──▶ waiting ──▶ commit on disk ──▶ sent (at most a window) ──▶ PUBACK ──▶ deleted on disk
                                      └──▶ too large for the broker ──▶ set aside on disk

Nothing is sent before it is on disk, so what a subscriber has seen was never lost with this process. A window
counts what was sent until its deletion is on disk: what comes twice after a crash is at most one window.

Disks hang: SD cards that die, shares whose server has gone. One thread writes, another reads, and nobody else
waits for them, nor for a lock that they hold meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from edge_app.errors import EdgeAppError
from edge_app.interfaces import DropObserver
from edge_app.messages import DropReason
from edge_app.publish.disk_wait import HANGS_S, DiskWait
from edge_app.publish.outbox.file import OutboxFile, words_of
from edge_app.publish.outbox.reader import RowReader
from edge_app.publish.outbox.state import OutboxState
from edge_app.publish.outbox.store import NewRow, OutboxStore, UnusableStoreError, boot_s
from edge_app.publish.outbox.voice import OutboxVoice
from edge_app.publish.outbox.waiting import WaitingRows
from edge_app.publish.outbox.window import SendWindow, StoredMessage

logger = logging.getLogger(__name__)

GROUP = 256
"""Most messages of one commit."""
CHUNKS = 16
"""Most transactions in a row that drop what is beyond a bound: what waits in memory is written in between."""
MOST_WAITING = 4096
"""Messages in memory that wait for the disk; beyond it the disk counts as unwritable."""
TICK_S = 0.5
"""How often ages are looked at."""
RETRY_S = 5.0
"""How soon a disk that could not be written is tried again."""
STALL_S = 1.0
"""A producer that may wait for room does so no longer."""
RESERVE_BYTES = 16 << 20
"""So much room on the disk is left alone."""
PASSING = ("full", "readonly", "locked")
"""Words of errors that need no new look at the file."""


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


class Outbox:
    """Keeps messages until the broker has confirmed them.

    `put` and `state` may be called by any thread, and never raise. `connected`, `disconnected`, `redirected`,
    `take`, `confirmed`, `refused` and `too_large` are called by the connection's thread. None of them waits
    for the disk, except `put` where it is told to. A thread of its own writes, and one reads.

    Args:
        path: The database; its directory is made.
        bounds: What it may hold.
        synced: Whether what was committed survives the loss of power, not only the death of the process.
        drops: Told of every message that goes no further.
        wake: Called when there is something to send.
        changed: Called when what is to be told changes: `problem`, or that a damaged file was set aside.
        clock_s: See `OutboxStore`.
        unix_s: See `OutboxStore`.

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
        self._path, self._bounds = path, bounds
        self._file = OutboxFile(path, synced=synced, clock_s=clock_s, unix_s=unix_s)
        self._drops, self._wake = drops, wake
        self._clock_s, self._unix_s = clock_s, unix_s
        self._lock = threading.Condition()
        self._reader = RowReader(wake, self._read_failed, HANGS_S)
        self._waiting = WaitingRows(MOST_WAITING, GROUP)
        self._disk = DiskWait(HANGS_S)
        self._stalled = False
        self._window = SendWindow(bounds.window, clock_s, self._reader)
        self._store: OutboxStore | None = None
        self._read_error: Exception | None = None
        self._work_problem: str | None = None
        """What stood against the last piece of work that ended."""
        self._writing_hangs: str | None = None
        self._hung_at_s = 0.0
        self._reading_hangs: str | None = None
        self._voice = OutboxVoice(self._find_problem, lambda: self._file.set_aside_words, changed)
        self._stopping = self._ended = self._cut = False
        self._thread = threading.Thread(target=self._write, name="outbox", daemon=True)

    @property
    def writable(self) -> bool:
        """Whether messages can be kept now; those put meanwhile wait in memory."""
        return self._writing_hangs is None and self._work_problem is None

    @property
    def problem(self) -> str | None:
        """Why messages are not kept or not taken, in words; None while all is well."""
        return self._voice.problem

    def start(self) -> None:
        """Open the file and begin to write; returns at once."""
        self._thread.start()
        self._reader.start()

    def put(self, camera_id: str, topic: str, payload: bytes, *, wait: bool = False) -> None:
        """Keep a message; `wait`: for room, but not for long. When there is none, the oldest goes."""
        row = NewRow(topic, camera_id, payload, self._clock_s(), self._unix_s())
        with self._lock:
            if wait and not (self._stalled or self._stopping):
                self._stalled = not self._lock.wait_for(self._has_room, STALL_S)
            victim = row if self._stopping or self._ended else self._waiting.add(row)
            self._lock.notify_all()
        self._look_at_disk()
        if victim is not None:
            self._drops.dropped(victim.camera, DropReason.OUTBOX_UNWRITABLE)

    def _has_room(self) -> bool:
        return self._waiting.room or self._stopping

    def state(self) -> OutboxState:
        """Return what it holds now, as far as the thread that writes has come."""
        with self._lock:
            store = self._store
            waiting, waiting_bytes = self._waiting.count, self._waiting.size_bytes
            if store is None:
                return OutboxState(waiting, waiting, waiting_bytes, None, self.problem)
            count, size_bytes = store.count + waiting, store.size_bytes + waiting_bytes
            return OutboxState(count, waiting, size_bytes, store.oldest_s(), self.problem)

    def stop(self, timeout_s: float = 2.0) -> None:
        """Write what waits, and close the file. What could not be written in time is counted as dropped."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        deadline_s = time.monotonic() + timeout_s
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        self._reader.close(max(0.0, deadline_s - time.monotonic()))
        with self._lock:
            left = self._waiting.give_up()
        self._count(left, DropReason.OUTBOX_UNWRITABLE)

    def connected(self) -> None:
        """A connection has begun: everything that is not confirmed goes out again, from the oldest on."""
        with self._lock:
            self._window.connected()

    def disconnected(self) -> None:
        """It has ended."""
        with self._lock:
            self._window.disconnected()

    def redirected(self) -> None:
        """The next connection is to another broker, or as another client: it may take what was refused."""
        with self._lock:
            self._window.forgive()
        self._voice.tell()

    def take(self) -> StoredMessage | None:
        """Return the next message to send, or None."""
        self._look_at_disk()
        with self._lock:
            return None if self._store is None else self._window.take()

    def confirmed(self, message: StoredMessage) -> None:
        """The broker has a message: it may go."""
        self._take_out(message, None)

    def too_large(self, message: StoredMessage, reason: str) -> None:
        """The broker takes nothing of that size: the message is set aside with the reason, others go on."""
        self._take_out(message, reason)

    def _take_out(self, message: StoredMessage, unfit: str | None) -> None:
        with self._lock:
            refused = self._window.refused
            if not self._window.take_out(message, unfit):
                return
            taken_at_last = self._window.refused is not refused
            self._lock.notify_all()
        if taken_at_last:
            self._voice.tell()

    def refused(self, message: StoredMessage, reason: str) -> None:
        """The broker does not take a message: it stays, and nothing new follows for a while."""
        with self._lock:
            if not self._window.refuse(message, reason):
                return
        self._voice.tell()

    def settled(self) -> bool:
        """Whether nothing is left that the broker could take now."""
        with self._lock:
            if not self.writable or self._window.refused is not None:
                return True
            empty = self._store is None or self._store.count == 0
            return empty and not (self._waiting.count or self._window.leaves)

    def _look_at_disk(self) -> None:
        """Say so if it has not answered for long; only somebody else than who waits for it can tell."""
        with self._lock:
            writing_s, reading_s = self._disk.hangs_s(), self._reader.hangs_s()
            news = bool(reading_s) != bool(self._reading_hangs)
            if news:
                words = f"outbox {self._path}: the disk has not answered who reads for {reading_s:.0f} s"
                self._reading_hangs = words if reading_s else None
            now_s = time.monotonic()
            if writing_s:
                self._hung_at_s = now_s
                if self._writing_hangs is None:
                    words = f"outbox {self._path}: the disk has not answered for {writing_s:.0f} s"
                    self._writing_hangs, news = words, True
            elif self._writing_hangs and now_s - self._hung_at_s >= 2 * HANGS_S:
                # Long before the work is done perhaps; but not between any two calls of a disk that dies.
                self._writing_hangs, news = None, True
        if news:
            self._voice.tell()

    def _read_failed(self, error: Exception) -> None:
        with self._lock:  # only the thread that writes may close the file
            self._read_error = error
            self._lock.notify_all()

    def _find_problem(self) -> str | None:
        with self._lock:
            refused = None if self._window.refused is None else self._window.refused[1]
            return self._writing_hangs or self._work_problem or self._reading_hangs or refused

    # What follows runs on the outbox's own thread.

    def _write(self) -> None:
        try:
            self._write_until_stopped()
        except Exception as error:
            logger.exception("the outbox has ended")
            with self._lock:
                self._disk.end()
                self._ended, self._writing_hangs = True, None
                self._work_problem = f"outbox {self._path}: it has ended ({type(error).__name__}: {error})"
                left = self._waiting.give_up()
            with contextlib.suppress(Exception):
                self._voice.tell()
                self._count(left, DropReason.OUTBOX_UNWRITABLE)
        finally:
            self._close()

    def _write_until_stopped(self) -> None:
        looked_at_s = -TICK_S
        while True:
            with self._lock:
                self._lock.wait_for(self._has_work, 0.0 if self._cut else TICK_S)
                self._waiting.take()
                done = self._window.done[:]
                stopping = self._stopping
                self._disk.begin()
                self._lock.notify_all()
            look = self._cut or time.monotonic() - looked_at_s >= TICK_S
            looked_at_s = time.monotonic() if look else looked_at_s
            busy = bool(self._waiting.writing or done)
            problem = self._work(done, look_at_ages=look)
            with self._lock:
                self._disk.end()
                self._writing_hangs, self._work_problem = None, problem
            if problem is None and (busy or look):  # nothing could be taken while the bounds were kept
                self._wake()
            self._look_at_disk()  # for who reads: without a connection perhaps nobody else does
            self._voice.tell()
            if problem is not None:
                with self._lock:
                    self._waiting.put_back()
                    if not stopping:
                        self._lock.wait_for(lambda: self._stopping, RETRY_S)
            if stopping and (problem is not None or not self._waiting):
                break

    def _has_work(self) -> bool:
        return bool(self._waiting or self._window.leaves or self._stopping or self._read_error)

    def _work(self, done: list[int], *, look_at_ages: bool) -> str | None:
        """Bring what was taken onto the disk, and confirmed rows off it; return what stood against that."""
        try:
            if self._read_error is not None:
                error, self._read_error = self._read_error, None
                raise error
            store = self._store or self._open()
            # First, and whatever the rest does: it makes room.
            if done and self._window.done:
                store.delete(done)
                with self._lock:
                    del self._window.done[: len(done)]
            self._set_unfit_aside(store)
            full = self._why_no_room() if self._waiting.writing else None
            if self._waiting.writing and full is None:
                store.append(self._waiting.writing)
                with self._lock:
                    self._waiting.writing = []
                    self._stalled = False
                    self._window.look()
            self._keep_bounds(store, look_at_ages=look_at_ages)
            if full is not None:
                raise full
        except (sqlite3.Error, UnusableStoreError, EdgeAppError, OSError) as error:
            return self._fail(error)
        except Exception as error:  # a fault of this file must not stop the video
            logger.exception("the outbox failed")
            return self._fail(error)
        return None

    def _set_unfit_aside(self, store: OutboxStore) -> None:
        with self._lock:
            unfit = dict(self._window.unfit)
        if not unfit:
            return
        dropped = store.set_aside(unfit)
        with self._lock:
            for position in unfit:
                del self._window.unfit[position]
        self._count(dropped, DropReason.TOO_LARGE)
        self._wake()

    def _why_no_room(self) -> sqlite3.OperationalError | None:
        """Leave room on the disk for what deletes rows: without, a full outbox could never be emptied."""
        free = shutil.disk_usage(self._path.parent).free
        words = f"the disk is full: {free >> 20} MiB are free, {RESERVE_BYTES >> 20} are left alone"
        return sqlite3.OperationalError(words) if free < RESERVE_BYTES else None

    def _keep_bounds(self, store: OutboxStore, *, look_at_ages: bool) -> None:
        with self._lock:
            self._window.dropping = True
            above = self._window.last_on_its_way()
        bounds, some, self._cut = self._bounds, False, False
        kinds = {DropReason.OUTBOX_FULL: store.drop_beyond(bounds.max_bytes, above=above)}
        if look_at_ages:
            kinds[DropReason.OUTBOX_EXPIRED] = store.drop_older(bounds.max_age_s, above=above)
        try:
            for reason, chunks in kinds.items():
                for number, gone in enumerate(islice(chunks, CHUNKS), start=1):
                    some = True
                    self._count(gone, reason)
                    self._cut |= number == CHUNKS
        finally:
            with self._lock:
                # Until all of them have gone nothing is taken, or some of these would be sent yet.
                self._window.dropping = self._cut
                if some:
                    self._window.dropped_above(above)

    def _open(self) -> OutboxStore:
        store = self._file.open()
        self._reader.follow(store)
        with self._lock:
            self._store = store
            self._window.begin(store.last_position)
            self._window.dropping = True  # until the bounds are kept: what has expired is not sent
        if store.count:
            logger.info("outbox %s: %d messages of before", self._path, store.count)
        return store

    def _fail(self, error: Exception) -> str:
        """Return what is wrong, in words; a damaged file is opened again, which sets it aside."""
        with self._lock:
            self._window.dropping = self._cut = False
        passing = isinstance(error, sqlite3.OperationalError) and any(word in str(error) for word in PASSING)
        if not passing:
            self._close_store()
        return f"outbox {self._path}: {words_of(error)}"

    def _close_store(self) -> None:
        with self._lock:
            store, self._store = self._store, None
        if store is not None:
            self._reader.follow(None)
            store.close()

    def _close(self) -> None:
        self._close_store()
        self._file.close()

    def _count(self, dropped: Counter[str], reason: DropReason) -> None:
        for camera_id, count in dropped.items():
            self._drops.dropped(camera_id, reason, count)
