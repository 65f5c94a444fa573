"""Where an outbox lies: its directory, the lock that keeps others out, damaged files that are set aside."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

from edge_app.errors import EdgeAppError
from edge_app.files.lock import hold
from edge_app.files.place import why_unusable
from edge_app.publish.outbox.store import OutboxStore, UnusableStoreError

logger = logging.getLogger(__name__)


class OutboxFile:
    """Opens the store of one path, one process at a time. Used by one thread.

    Args:
        path: The database; its directory is made.
        synced: See `OutboxStore`.
        clock_s: See `OutboxStore`.
        unix_s: See `OutboxStore`.

    Attributes:
        set_aside_words: That a damaged file was set aside: told on until the end, for somebody has to look
            after it; None while none was.
    """

    def __init__(
        self, path: Path, *, synced: bool, clock_s: Callable[[], float], unix_s: Callable[[], float]
    ) -> None:
        self._path, self._synced = path, synced
        self._clock_s, self._unix_s = clock_s, unix_s
        self._hold: contextlib.ExitStack | None = None
        self.set_aside_words: str | None = None

    def open(self) -> OutboxStore:
        """Return the store; a file that is none is set aside, and a new one begun.

        Raises:
            LockedError: Another process has it.
            OSError, sqlite3.Error: It cannot be opened or made now.
        """
        directory = self._path.parent
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            why = why_unusable(directory.absolute()) or words_of(error)
            raise OSError(f"its directory cannot be made: {why}") from error
        if self._hold is None:
            until_the_end = contextlib.ExitStack()
            until_the_end.enter_context(hold(self._path.with_suffix(".lock"), timeout_s=0))
            self._hold = until_the_end
        try:
            return self._opened()
        except UnusableStoreError as error:
            self._set_aside(str(error))
            return self._opened()

    def close(self) -> None:
        """Let others have it. Idempotent."""
        if self._hold is not None:
            self._hold.close()
            self._hold = None

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
        self.set_aside_words = f"outbox {self._path}: a damaged file was set aside as {kept.name}"


def words_of(error: Exception) -> str:
    """Return what went wrong, as people read it."""
    if isinstance(error, EdgeAppError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)
