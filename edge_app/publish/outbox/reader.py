"""Reads the rows of an outbox ahead of whoever sends them: no disk holds up the connection to the broker."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from edge_app.publish.disk_wait import DiskWait
from edge_app.publish.outbox.store import OutboxStore, StoredRow

READ_AHEAD = 64
"""Rows of one look at the disk."""
FEW = READ_AHEAD // 2
"""With no more than so many left the next ones are read."""


class RowReader:
    """The rows of a store in their order, read by a thread of its own.

    `next`, `rewind` and `look` may be called by any thread, and never wait for the disk.

    Args:
        came: Called when there are rows again, from the thread that reads.
        failed: Called when the store cannot be read, likewise.
        hangs_after_s: See `DiskWait`.
    """

    def __init__(
        self, came: Callable[[], None], failed: Callable[[Exception], None], hangs_after_s: float
    ) -> None:
        self._came, self._failed = came, failed
        self._disk = DiskWait(hangs_after_s)
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        """Held while rows are read, and never with `_lock` held."""
        self._wanted = threading.Event()
        self._closed = False
        self._store: OutboxStore | None = None
        self._ahead: deque[StoredRow] = deque()
        self._position = 0
        """Of the last row that was read."""
        self._epoch = 0
        """Changes when what is being read is not to be used any more."""
        self._thread = threading.Thread(target=self._main, name="outbox-reader", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Read nothing more; wait for the thread, `timeout_s` seconds at most."""
        self._closed = True
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def follow(self, store: OutboxStore | None) -> None:
        """Read this store from its beginning; the one before is not touched once this returns.

        For that it may wait for the disk.
        """
        with self._lock:
            self._store = store
            self._begin_anew()
        with self._reading:
            pass

    def rewind(self) -> None:
        """Begin again with the oldest row."""
        with self._lock:
            self._begin_anew()

    def next(self) -> StoredRow | None:
        """Return the next row; None: there is none, or it is being read."""
        with self._lock:
            row = self._ahead.popleft() if self._ahead else None
            if self._wants_more():
                self._wanted.set()
            return row

    def look(self) -> None:
        """There are new rows."""
        self._wanted.set()

    def hangs_s(self) -> float:
        """Return for how many seconds the disk has not answered; 0 until that is too long."""
        return self._disk.hangs_s()

    def _begin_anew(self) -> None:
        self._ahead.clear()
        self._position = 0
        self._epoch += 1

    def _wants_more(self) -> bool:
        store = self._store
        return store is not None and len(self._ahead) <= FEW and store.last_position > self._position

    # What follows runs on the thread that reads.

    def _main(self) -> None:
        while not self._closed:
            self._wanted.wait()
            self._wanted.clear()
            while not self._closed and self._read():
                self._came()

    def _read(self) -> bool:
        """Read the next rows, if they are wanted; return whether there are any."""
        with self._reading:
            with self._lock:
                store, epoch, position = self._store, self._epoch, self._position
                if store is None or not self._wants_more():
                    return False
                last_position = store.last_position
            self._disk.begin()
            try:
                rows = store.after(position, READ_AHEAD)
            except Exception as error:  # noqa: BLE001 - it is told; without this thread nothing would go out
                self._failed(error)
                return False
            finally:
                self._disk.end()
        with self._lock:
            if epoch != self._epoch:
                return True  # it begins anew, at once
            self._ahead.extend(rows)
            self._position = rows[-1].position if rows else last_position
            return bool(rows)
