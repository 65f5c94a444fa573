"""Small files that are written anew as a whole, in a directory where somebody else may write, too."""

from __future__ import annotations

import os
from pathlib import Path


def replace_content(path: Path, content: bytes) -> None:
    """Replace a file by one with other content; whoever reads it finds the one or the other.

    No link is followed, so that nobody who can write to the directory leads us to another file.

    Args:
        path: The file. One beside it, with the suffix `.new`, is written first; what is there goes.
        content: Of it. Until it is synced a loss of power may leave it empty.

    Raises:
        OSError: It cannot be written.
    """
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - it is open already
        file.write(content)
    new.replace(path)


def sync_file(path: Path) -> None:
    """Make a file and its name survive a power cut. Waits for the disk, however long that takes.

    Raises:
        OSError: It is not there, or where it lies nothing can be synced.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
