"""The log: one line for each thing that happens, on standard error, free of secrets."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

LINE = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s"


class _Formatter(logging.Formatter):
    """UTC times; the package's own name left out of the logger's; every line passed through `redact`."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__(LINE, datefmt="%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return self._redact(line.replace(" edge_app.", " ", 1))


def configure_logging(level: str, redact: Callable[[str], str]) -> None:
    """Send the log of the package, warnings of others included, to standard error.

    Args:
        level: debug, info, warning or error.
        redact: Takes every finished line, traceback included, and returns it without secrets.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(redact))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("edge_app").setLevel(level.upper())
    logging.captureWarnings(capture=True)
