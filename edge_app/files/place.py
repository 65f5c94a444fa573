"""Whether a directory can be used as it is, or made."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def why_unusable(directory: Path) -> str | None:
    """Return in words why this user cannot keep files in a directory, there already or not; None if it can.

    Args:
        directory: An absolute path.
    """
    for place in (directory, *directory.parents):
        try:
            place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return f"{place} cannot be looked at ({(error.strerror or str(error)).lower()})"
        if not place.is_dir():
            return f"{place} is not a directory"
        if not os.access(place, os.W_OK | os.X_OK):
            if os.statvfs(place).f_flag & os.ST_RDONLY:
                return f"the file system of {place} is read-only"
            return f"this user cannot write to {place}"
        return None
    return None


def why_not_writable(directory: Path) -> str | None:
    """Return in words why this user cannot keep files in a directory, as `why_unusable`, but tried.

    Rights do not tell all: nothing can be made in /proc, on a full disk, or where an attribute forbids it.
    What is made to try it is removed at once; the directory itself is not made.
    """
    why = why_unusable(directory)
    if why is not None:
        return why
    place = next(parent for parent in (directory, *directory.parents) if parent.is_dir())
    try:
        Path(tempfile.mkdtemp(prefix=".edge-app-", dir=place)).rmdir()
    except OSError as error:
        return f"nothing can be made in {place} ({(error.strerror or str(error)).lower()})"
    return None
