"""What a log record is about, besides its words: fields that a journal can be searched for.

`CAMERA` is what the words begin with (`camera %s: ...`), `STAGE` the package that speaks, and `EVENT` what
the call names: `logger.info(..., extra={"event": "camera_lost"})`.
"""

from __future__ import annotations

import logging

PACKAGE = "edge_app."
_CAMERA_WORDS = "camera %s"


def camera_of(record: logging.LogRecord) -> str | None:
    """Return the camera that a record is about, or None."""
    begins = isinstance(record.msg, str) and record.msg.startswith(_CAMERA_WORDS)
    return str(record.args[0]) if begins and isinstance(record.args, tuple) and record.args else None


def fields_of(record: logging.LogRecord) -> dict[str, str]:
    """Return the fields that a record has, of `CAMERA`, `STAGE` and `EVENT`."""
    stage = record.name[len(PACKAGE) :].partition(".")[0] if record.name.startswith(PACKAGE) else None
    found = {"CAMERA": camera_of(record), "STAGE": stage, "EVENT": getattr(record, "event", None)}
    return {name: str(value) for name, value in found.items() if value}
