"""The file behind the outbox: an SQLite database in WAL mode, a row for each message.

Format: table `messages`, in the order of `position`; table `set_aside`, what the broker will never take, with
the reason; `user_version` is the format's version. WAL with `synchronous = NORMAL` survives the death of the
process, `FULL` the loss of power too
(https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from edge_app.ops.clock import boot_id, kernel_clock_synced

FORMAT = 1
OVERHEAD_BYTES = 96
"""What a row takes beside topic and payload, about."""
BUSY_TIMEOUT_S = 2.0
TOGETHER = 256
"""Rows that are changed or deleted in one transaction."""

SCHEMA = """
CREATE TABLE messages (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    camera TEXT NOT NULL,
    payload BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    boot TEXT NOT NULL,
    stored_s REAL NOT NULL,
    stored_unix_s REAL NOT NULL,
    clock_synced INTEGER NOT NULL
) STRICT
"""
ASIDE_SCHEMA = """
CREATE TABLE IF NOT EXISTS set_aside (
    position INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    camera TEXT NOT NULL,
    payload BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    stored_unix_s REAL NOT NULL,
    reason TEXT NOT NULL
) STRICT
"""
ASIDE = ("position", "topic", "camera", "payload", "bytes", "stored_unix_s")
MOST_ASIDE_BYTES = 16 << 20
"""Beyond it the oldest that were set aside go; all are counted."""
WRITTEN = ("topic", "camera", "payload", "bytes", "boot", "stored_s", "stored_unix_s", "clock_synced")
COLUMNS = {"messages": {"position", *WRITTEN}, "set_aside": {*ASIDE, "reason"}}
INSERT = f"INSERT INTO messages ({', '.join(WRITTEN)}) VALUES ({', '.join('?' * len(WRITTEN))})"  # noqa: S608 - ours


@dataclass(frozen=True, slots=True)
class NewRow:
    """A message that is not on disk yet.

    Attributes:
        camera: Whose drop it counts as.
        made_s: `boot_s()` of when it was made; None: when it is stored.
        made_unix_s: Unix time of the same.
    """

    topic: str
    camera: str
    payload: bytes
    made_s: float | None = None
    made_unix_s: float | None = None

    @property
    def size_bytes(self) -> int:
        """What it counts as, of the bound."""
        return len(self.topic) + len(self.payload) + OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A message on disk. `stored_s` is `boot_s()` of when it was made."""

    position: int
    topic: str
    camera: str
    payload: bytes
    stored_s: float


class UnusableStoreError(Exception):
    """The file is no outbox of this version, or is damaged: it must be set aside."""


def boot_s() -> float:
    """Return the seconds since this machine was started, asleep or not: no clock that anybody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class OutboxStore:
    """The rows on disk. One thread writes and closes; another one may call `after` meanwhile.

    Args:
        path: The database file; its directory exists.
        synced: Whether a commit waits until the disk has it.
        clock_s: `boot_s`, or a test's.
        unix_s: Unix time in seconds.
        clock_synced: Whether that is to be believed.

    Attributes:
        count: How many there are.
        size_bytes: What they count as, of the bound.
        last_position: Of the newest that there ever was.
        oldest_stored_s: `boot_s()` of when the oldest was made; None if there is none.

    These, and `oldest_s`, are for any thread, and touch no disk.

    Raises:
        UnusableStoreError: The file is not an outbox of this version, or is damaged.
        sqlite3.OperationalError, OSError: It cannot be opened or written now.
    """

    def __init__(
        self,
        path: Path,
        *,
        synced: bool,
        clock_s: Callable[[], float] = boot_s,
        unix_s: Callable[[], float] = time.time,
        clock_synced: Callable[[], bool] = kernel_clock_synced,
    ) -> None:
        self._path = path
        self._clock_s, self._unix_s, self._clock_synced = clock_s, unix_s, clock_synced
        self._boot = boot_id()
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        path.touch(mode=0o600)  # what was seen is nobody else's business; SQLite's other files follow it
        self._writer = self._connect(synced=synced)
        try:
            # What is only deleted need not be waited for: should it come back, it is sent once more.
            self._deleter = self._connect(synced=False)
            self._reader = self._connect(synced=False)
            with _damage():
                self._prepare()
                self.oldest_stored_s = self._oldest_stored_s()
                (self.count, self.size_bytes, self.last_position) = self._writer.execute(
                    "SELECT count(*), coalesce(sum(bytes), 0), coalesce(max(position), 0) FROM messages"
                ).fetchone()
                (self._aside_bytes,) = self._writer.execute(
                    "SELECT coalesce(sum(bytes), 0) FROM set_aside"
                ).fetchone()
        except BaseException:
            self.close()
            raise

    def append(self, rows: Sequence[NewRow]) -> None:
        """Commit rows, all or none. Raises sqlite3.Error."""
        now_s, now_unix_s, synced = self._clock_s(), self._unix_s(), int(self._clock_synced())
        values = [
            (
                *(row.topic, row.camera, row.payload, row.size_bytes, self._boot),
                now_s if row.made_s is None else row.made_s,
                now_unix_s if row.made_unix_s is None else row.made_unix_s,
                synced,
            )
            for row in rows
        ]
        with self._transaction(self._writer) as database:
            database.executemany(INSERT, values)
            (last_position,) = database.execute("SELECT max(position) FROM messages").fetchone()
        if self.oldest_stored_s is None and values:
            self.oldest_stored_s = float(values[0][WRITTEN.index("stored_s")])
        self.last_position = last_position
        self.count += len(rows)
        self.size_bytes += sum(row.size_bytes for row in rows)

    def delete(self, positions: Sequence[int]) -> None:
        """Commit that rows are gone; those that are not there count as gone. Raises sqlite3.Error."""
        for start in range(0, len(positions), TOGETHER):
            chunk = positions[start : start + TOGETHER]
            marks = ", ".join("?" * len(chunk))
            with self._transaction(self._deleter) as database:
                gone = database.execute(
                    f"DELETE FROM messages WHERE position IN ({marks}) RETURNING bytes",  # noqa: S608 - question marks
                    chunk,
                ).fetchall()
            self._forget(gone)

    def set_aside(self, reasons: Mapping[int, str]) -> Counter[str]:
        """Move rows, by position, to what never goes out, with the reasons; return how many, by camera.

        Raises sqlite3.Error.
        """
        gone: list[tuple[Any, ...]] = []
        with self._transaction(self._writer) as database:
            columns = ", ".join(ASIDE)
            for position, reason in reasons.items():
                database.execute(
                    f"INSERT INTO set_aside ({columns}, reason) "  # noqa: S608 - names of our own
                    f"SELECT {columns}, ? FROM messages WHERE position = ?",
                    (reason, position),
                )
                gone += database.execute(
                    "DELETE FROM messages WHERE position = ? RETURNING bytes, camera", (position,)
                ).fetchall()
            aside_bytes = self._aside_bytes + sum(size_bytes for size_bytes, _ in gone)
            while aside_bytes > MOST_ASIDE_BYTES:
                (size_bytes,) = database.execute(
                    "DELETE FROM set_aside "
                    "WHERE position = (SELECT min(position) FROM set_aside) RETURNING bytes"
                ).fetchone()
                aside_bytes -= size_bytes
        self._aside_bytes = aside_bytes
        self._forget(gone)
        return Counter(camera for _, camera in gone)

    def drop_beyond(self, max_bytes: int, *, above: int = 0) -> Iterator[Counter[str]]:
        """Delete the oldest rows until no more than `max_bytes` are left, a few at a time.

        Yields how many are gone, by camera, of each transaction. Rows up to position `above` stay: they are
        on their way.
        """
        while self.size_bytes > max_bytes:
            surplus, last = self.size_bytes - max_bytes, 0
            for position, size_bytes in self._oldest("bytes", above):
                last, surplus = position, surplus - size_bytes
                if surplus <= 0:
                    break
            if not last:
                return
            yield self._drop(above, last)

    def drop_older(self, max_age_s: float, *, above: int = 0) -> Iterator[Counter[str]]:
        """Delete the rows that are older than that; the rest as before."""
        cutoff_s = self._clock_s() - max_age_s
        # Asked of the file, although we know: what only appends would not notice that it was damaged.
        self.oldest_stored_s = self._oldest_stored_s()
        while self.oldest_stored_s is not None and self.oldest_stored_s < cutoff_s:
            # They lie in the order of their time, so it ends with the first that stays.
            older = takewhile(lambda row: row[1] < cutoff_s, self._oldest("stored_s", above))
            last = max((position for position, _ in older), default=0)
            if not last:
                return
            yield self._drop(above, last)

    def after(self, position: int, limit: int) -> list[StoredRow]:
        """Return the first rows behind a position, in order."""
        rows = self._reader.execute(
            "SELECT position, topic, camera, payload, stored_s FROM messages "
            "WHERE position > ? ORDER BY position LIMIT ?",
            (position, limit),
        )
        return [StoredRow(*row) for row in rows]

    def oldest_s(self) -> float | None:
        """Return the age of the oldest row in seconds; None if there is none."""
        stored_s = self.oldest_stored_s
        return None if stored_s is None else max(0.0, self._clock_s() - stored_s)

    def close(self) -> None:
        """Close the file. Never raises; idempotent."""
        for name in ("_reader", "_deleter", "_writer"):
            connection: sqlite3.Connection | None = getattr(self, name, None)
            if connection is not None:
                try:
                    connection.close()
                except sqlite3.Error:
                    continue

    def _connect(self, *, synced: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            with _damage():
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
                connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self) -> None:
        """Make the table in a new file; check an old one, and count the age of its rows from now on."""
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        (tables,) = self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables and not version:
            with self._transaction(self._writer) as database:
                database.execute(SCHEMA)
                database.execute(ASIDE_SCHEMA)
                database.execute(f"PRAGMA user_version = {FORMAT}")
            return
        if version != FORMAT:
            raise UnusableStoreError(f"it has format {version}, this version writes {FORMAT}")
        (verdict,) = self._writer.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise UnusableStoreError(str(verdict))
        self._writer.execute(ASIDE_SCHEMA)
        for table, columns in COLUMNS.items():
            rows = self._writer.execute("SELECT name FROM pragma_table_info(?)", (table,))
            differing = columns ^ {name for (name,) in rows}
            if differing:
                names = ", ".join(sorted(differing))
                raise UnusableStoreError(f"its table {table} is not that of format {FORMAT}: {names}")
        self._count_on_ages()

    def _count_on_ages(self) -> None:
        """Count the age of rows of before the machine was started by the clock of now.

        Only the clock on the wall tells how long ago that was, if it was right both times: a machine without
        a battery begins in 1970, and nothing must be lost for that. A few rows at a time, for until a
        transaction ends its log holds every page of it: a disk that an outbox has filled has no room for
        that. What is done stays done; a commit that is lost with the power is made again.
        """
        now = (self._clock_s(), self._unix_s(), self._boot, int(self._clock_synced()))
        last: int | None = 0
        while last is not None:
            changed = self._deleter.execute(
                "UPDATE messages SET boot = ?3, stored_s = ?1 - "
                "CASE WHEN ?4 AND clock_synced THEN max(0, ?2 - stored_unix_s) ELSE 0 END "
                "WHERE position IN (SELECT position FROM messages "
                "WHERE position > ?5 AND boot != ?3 ORDER BY position LIMIT ?6) RETURNING position",
                (*now, last, TOGETHER),
            ).fetchall()
            last = max((position for (position,) in changed), default=None)

    def _oldest(self, column: str, above: int) -> list[tuple[int, Any]]:
        """Return position and a column of the oldest rows above a position."""
        return self._deleter.execute(
            f"SELECT position, {column} FROM messages WHERE position > ? ORDER BY position LIMIT ?",  # noqa: S608 - ours
            (above, TOGETHER),
        ).fetchall()

    def _drop(self, above: int, through: int) -> Counter[str]:
        with self._transaction(self._deleter) as database:
            gone = database.execute(
                "DELETE FROM messages WHERE position > ? AND position <= ? RETURNING bytes, camera",
                (above, through),
            ).fetchall()
        self._forget(gone)
        return Counter(camera for _, camera in gone)

    def _forget(self, gone: Sequence[tuple[int, ...]]) -> None:
        self.count -= len(gone)
        self.size_bytes -= sum(row[0] for row in gone)
        self.oldest_stored_s = self._oldest_stored_s()

    def _oldest_stored_s(self) -> float | None:
        oldest = self._deleter.execute("SELECT stored_s FROM messages ORDER BY position LIMIT 1").fetchone()
        return None if oldest is None else float(oldest[0])

    @contextmanager
    def _transaction(self, database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise


@contextmanager
def _damage() -> Iterator[None]:
    """Tell a damaged file from one that cannot be used at the moment."""
    try:
        yield
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise UnusableStoreError(str(error)) from error
