"""Small files that are written anew as a whole, in a directory where somebody else may write, too."""

from __future__ import annotations

import os
from pathlib import Path


def replace_content(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Replace a file by one with other content; whoever reads it finds the one or the other.

    No link is followed, so that nobody who can write to the directory leads us to another file.

    Args:
        path: The file. One beside it, with the suffix `.new`, is written first; what is there goes.
        content: Of it.
        durable: Whether it is on the disk when this returns; otherwise a loss of power may leave it empty.

    Raises:
        OSError: It cannot be written.
    """
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - it is open already
        file.write(content)
        if durable:
            file.flush()
            os.fsync(descriptor)
    new.replace(path)
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
