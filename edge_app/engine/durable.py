"""Writing files so that a crash at any moment leaves the old content or the new, never a mixture."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from edge_app.files.replacing import sync_directory

TEMPORARY_PREFIX = ".tmp-"


def temporary_name(path: Path) -> Path:
    """Return an unused name beside `path` that the store knows as temporary."""
    return path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{path.name}")


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, on the disk when this returns."""
    temporary = temporary_name(path)
    try:
        with temporary.open("xb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def move_durably(source: Path, target: Path) -> None:
    """Move a finished file of the same file system to `target`, on the disk when this returns."""
    descriptor = os.open(source, os.O_RDONLY)
    try:
        os.fchmod(descriptor, 0o644)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    source.replace(target)
    sync_directory(target.parent)
