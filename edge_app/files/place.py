"""Whether a directory can be used as it is, or made; whether a file is there."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def why_no_file(path: Path) -> str | None:
    """Return in words, after "the file", why there is none at a path; None: there is one.

    `Path.is_file` raises where this user may not look, which is no mistake of what names the file.
    """
    try:
        there = stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except (OSError, ValueError) as error:
        return f"cannot be looked at: {why(error)}"
    return None if there else "is no regular file"


def why(error: Exception) -> str:
    """Return in words what an error says, without the path."""
    return (getattr(error, "strerror", None) or str(error)).lower()


def why_unusable(directory: Path) -> str | None:
    """Return in words why this user cannot keep files in a directory, there already or not; None if it can.

    Args:
        directory: An absolute path.
    """
    for place in (directory, *directory.parents):
        try:
            place.lstat()
            is_directory = place.is_dir()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return f"{place} cannot be looked at ({why(error)})"
        if not is_directory:
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
    unusable = why_unusable(directory)
    if unusable is not None:
        return unusable
    place = next(parent for parent in (directory, *directory.parents) if parent.is_dir())
    try:
        Path(tempfile.mkdtemp(prefix=".edge-app-", dir=place)).rmdir()
    except OSError as error:
        return f"nothing can be made in {place} ({why(error)})"
    return None
