"""A file of lines that is put aside when it is full, so that all of them together stay within a bound.

`NAME.jsonl` is being written; `NAME.000001.jsonl`, `NAME.000002.jsonl` and so on are full, the greatest
number the newest. Every line in them is whole: what a crash or a full disk has cut is taken back.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Sequence
from pathlib import Path

from edge_app.files.replacing import sync_directory

FILE_MODE = 0o640
DIRECTORY_MODE = 0o750
RESERVE_BYTES = 64 << 20
"""So much room on the disk is left alone, for what must arrive."""
_BLOCK_BYTES = 65536


class RotatingFile:
    """Appends lines. Called by one thread.

    Args:
        directory: Made if it is not there.
        name: Of the files.
        max_bytes: Of one file; a line that is longer gets one for itself.
        max_files: Most files, the one being written among them; the oldest go.
        synced: Whether `sync` does anything.
    """

    def __init__(self, directory: Path, name: str, *, max_bytes: int, max_files: int, synced: bool) -> None:
        self.path = directory / f"{name}.jsonl"
        self._full = re.compile(rf"{re.escape(name)}\.(\d{{6,}})\.jsonl")
        self._max_bytes, self._max_files, self._synced = max_bytes, max_files, synced
        self._file: int | None = None
        self._size = 0
        self._unsynced = False

    def write(self, lines: Sequence[bytes]) -> int:
        """Append lines, which end with a newline, as far as one file takes them; return how many these are.

        Raises:
            OSError: They could not be written; what was written of them is taken back.
        """
        file = self.open()
        if lines and self._size and self._size + len(lines[0]) > self._max_bytes:
            self._put_aside()
            file = self.open()
        count, size = 0, self._size
        while count < len(lines) and (size + len(lines[count]) <= self._max_bytes or not size):
            size += len(lines[count])
            count += 1
        self._append(file, b"".join(lines[:count]))
        return count

    def open(self) -> int:
        """Open the file unless it is open, and still the one of that name. Raises OSError."""
        if self._file is not None and not self._is_ours(self._file):
            self.close()
        if self._file is None:
            self._file = self._opened()
            self._size = os.fstat(self._file).st_size
        return self._file

    def sync(self) -> None:
        """Bring what was written to the disk itself. Raises OSError."""
        if self._synced and self._unsynced and self._file is not None:
            os.fdatasync(self._file)
            self._unsynced = False

    def close(self) -> None:
        """Close the file. Raises OSError if it could not be synced."""
        if self._file is None:
            return
        try:
            self.sync()
        finally:
            file, self._file = self._file, None
            os.close(file)

    def _append(self, file: int, data: bytes) -> None:
        room = os.fstatvfs(file)
        if room.f_bavail * room.f_frsize < RESERVE_BYTES + len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, self._size)
            raise
        self._size += len(data)
        self._unsynced = True

    def _opened(self) -> int:
        self.path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        new = not self.path.exists()
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if new:
                os.fchmod(file, FILE_MODE)  # a service's mask would leave the group out
                self._sync_directory()
            _take_back_torn_line(file)
        except BlockingIOError:
            os.close(file)
            raise OSError(errno.EBUSY, "another process writes it", str(self.path)) from None
        except BaseException:
            os.close(file)
            raise
        return file

    def _put_aside(self) -> None:
        """Give the file a number of its own, and let the oldest go."""
        self.close()
        full = sorted(
            (int(found[1]), path)
            for path in self.path.parent.iterdir()
            if (found := self._full.fullmatch(path.name))
        )
        number = full[-1][0] + 1 if full else 1
        aside = self.path.with_name(f"{self.path.stem}.{number:06d}.jsonl")
        self.path.rename(aside)
        for _, path in [*full, (number, aside)][: -(self._max_files - 1) or None]:
            path.unlink()
        self._sync_directory()

    def _is_ours(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self.path.stat())
        except FileNotFoundError:  # somebody has moved or removed it
            return False

    def _sync_directory(self) -> None:
        if self._synced:
            sync_directory(self.path.parent)


def _take_back_torn_line(file: int) -> None:
    """Cut a file behind its last newline."""
    size = os.fstat(file).st_size
    end = size
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        at = os.pread(file, end - start, start).rfind(b"\n")
        if at >= 0:
            end = start + at + 1
            break
        end = start
    if end != size:
        os.ftruncate(file, end)
