"""Reading files that somebody else may have made: none is waited for, and none fills the memory."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_CHUNK_BYTES = 1 << 20
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a link",
}


class NotRegularError(OSError):
    """What is there is something else than a regular file.

    Attributes:
        kind: What it is, in words: a directory, a pipe, a device, a socket, a link.
    """

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(errno.EINVAL, f"it is {kind} and not a regular file", str(path))
        self.kind = kind


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: It cannot be read, is no regular file (a pipe would be waited for, /dev/zero has no end), or
            is larger than `most_bytes`.
    """
    content = read_start(path, most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes} bytes", str(path))
    return content


def read_start(path: Path, most_bytes: int, *, follow: bool = True) -> bytes:
    """Return what a regular file begins with, by a link too if `follow`. Raises OSError as `read_bounded`."""
    with _regular(path, follow=follow) as file:
        return file.read(most_bytes)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a regular file of any size, in hexadecimal. Raises OSError as `read_bounded`."""
    digest = hashlib.sha256()
    with _regular(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _regular(path: Path, *, follow: bool = True) -> Iterator[IO[bytes]]:
    # Before: opening some devices does something, a socket fails.
    _require_regular(path, path.stat(follow_symlinks=follow).st_mode)
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
        _require_regular(path, os.fstat(descriptor).st_mode)  # and after: it may have been replaced
        yield file


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotRegularError(path, _KINDS.get(stat.S_IFMT(mode), "something else"))
