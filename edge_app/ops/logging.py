"""The log: one line for each thing that happens, on standard error, free of secrets."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

logger = logging.getLogger(__name__)

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
    """Send the log of the package, warnings of others and uncaught errors included, to standard error.

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
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_of_thread


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, Exception):
        logger.critical("unexpected %s", kind.__name__, exc_info=(kind, error, trace))
    else:
        sys.__excepthook__(kind, error, trace)


def _log_uncaught_of_thread(args: threading.ExceptHookArgs) -> None:
    name = "unknown" if args.thread is None else args.thread.name
    error = args.exc_value or args.exc_type()
    logger.critical(
        "unexpected %s in thread %s",
        args.exc_type.__name__,
        name,
        exc_info=(args.exc_type, error, args.exc_traceback),
    )
