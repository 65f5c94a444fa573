"""Finding out that a result cannot be written before the work, and not after it."""

from __future__ import annotations

import os
from pathlib import Path

from edge_app.errors import ConfigError


def require_writable(path: Path, option: str) -> None:
    """Check that a file can be written; what it holds stays, and none is left where there was none.

    Args:
        path: The file that the work ends with.
        option: The command line's word for it, such as `--json`.

    Raises:
        ConfigError: It cannot be written now.
    """
    existed = os.path.lexists(path)  # a link to nowhere too: it is not ours to remove
    try:
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.", hint=f"Choose another place for {option}."
        ) from None
