"""The bundle's file: made beside its place and moved there, in place of an earlier bundle or of nothing."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tarfile
from pathlib import Path

from edge_app.errors import EdgeAppError

FOLDER = "edge-app-doctor"
"""That all members of a bundle lie in, by which one is known."""


def place_bundle(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; in one step, so that nobody can put a link in between.

    Raises:
        EdgeAppError: It cannot be written, or something else than an earlier bundle is there.
    """
    try:
        _require_free(path)
        beside = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}")
        descriptor = os.open(
            beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - it is open already
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            beside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "that cannot be a file name"
        raise EdgeAppError(
            f"The bundle was not written: {path}: {reason}.", hint="Choose another place for --bundle."
        ) from None


def _require_free(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(status.st_mode) and _is_bundle(path)):
        raise EdgeAppError(
            f"The bundle was not written: {path} is there already, and is no earlier bundle.",
            hint="Name a file that does not exist yet in --bundle.",
        )


def _is_bundle(path: Path) -> bool:
    """Whether the first member is one of ours; a link is not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
        try:
            with tarfile.open(fileobj=file, mode="r:gz") as archive:
                first = archive.next()
        except (tarfile.TarError, OSError, EOFError):
            return False
    return first is not None and first.name.startswith(f"{FOLDER}/")
