"""Who may write where engines lie: an engine is code, and is never fetched from a URL."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edge_app.engine.errors import UnsafeStoreError

OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def refuse_url(place: Path | str) -> None:
    """Raise UnsafeStoreError if `place` is a URL."""
    # A Path has already made one slash of two.
    scheme, separator, _ = str(place).partition(":/")
    if separator and scheme.replace("+", "").isalnum():
        raise UnsafeStoreError(
            "an engine is code and is never fetched from a URL, "
            f"but one that begins with {scheme}: was given as the place of an engine",
            hint="Fetch the ONNX model instead and let edge-app build the engine here.",
        )


def check_ownership(path: Path) -> None:
    """Raise UnsafeStoreError if anybody but this user and root can change `path`."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        # What the link points at may change hands after it was checked; a link to a directory is resolved.
        if not path.is_dir():
            raise UnsafeStoreError(f"{path}: a link, but an engine must be a file", hint="Build it again.")
        status = path.stat()
    if status.st_uid not in {os.geteuid(), 0}:
        raise UnsafeStoreError(
            f"{path}: belongs to user {status.st_uid}, and an engine is code",
            hint=f"chown it to user {os.geteuid()}, or choose another directory.",
        )
    if status.st_mode & OTHERS_MAY_WRITE:
        raise UnsafeStoreError(
            f"{path}: others may write to it ({stat.filemode(status.st_mode)}), and an engine is code",
            hint=f"chmod go-w {path}",
        )
