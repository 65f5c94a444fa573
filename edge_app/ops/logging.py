"""The log: one line for each thing that happens, free of secrets, on standard error or in the journal."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from edge_app.ops.journal import SOCKET, JournalHandler, priority_of, stderr_is_journal
from edge_app.ops.log_fields import PACKAGE
from edge_app.ops.repeats import RepeatLimit

logger = logging.getLogger(__name__)

LINE = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s"
TERMINAL_LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
JOURNAL_LINE = "%(name)s: %(message)s"
"""The journal adds the time, and shows the level."""

_COLORS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "1;31", "DEBUG": "2"}
"""Of the levels on a terminal (ECMA-48, select graphic rendition): yellow, red, bold red, faint."""


class _Formatter(logging.Formatter):
    """UTC times; the package's own name left out of the logger's; every line passed through `redact`."""

    def __init__(
        self, redact: Callable[[str], str], line: str = LINE, times: str = "%Y-%m-%dT%H:%M:%S"
    ) -> None:
        super().__init__(line, datefmt=times)
        self.converter = time.gmtime
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        line = f" {super().format(record)}"
        return self._redact(line.replace(f" {PACKAGE}", " ", 1)[1:])


class _TerminalFormatter(_Formatter):
    """Short local times, and colours where they are wanted (https://no-color.org)."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__(redact, TERMINAL_LINE, "%H:%M:%S")
        self.converter = time.localtime
        self._colors = {} if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else _COLORS

    def format(self, record: logging.LogRecord) -> str:
        line, color = super().format(record), self._colors.get(record.levelname)
        return line if color is None else f"\x1b[{color}m{line}\x1b[0m"


class _JournalFormatter(_Formatter):
    """Lines that begin with their priority, as sd-daemon(3) has it."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__(redact, JOURNAL_LINE)

    def format(self, record: logging.LogRecord) -> str:
        priority = priority_of(record.levelno)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


def configure_logging(level: str, redact: Callable[[str], str]) -> None:
    """Send the log of the package, warnings of others and uncaught errors included, to where people look.

    That is the journal where standard error leads there, with fields of its own, otherwise standard error.

    Args:
        level: debug, info, warning or error.
        redact: Takes every finished line, traceback included, and returns it without secrets.
    """
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.addHandler(RepeatLimit(_handler(redact)))
    root.setLevel(logging.WARNING)
    set_level(level)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_of_thread


def set_level(level: str) -> None:
    """Show what is at least as severe: debug, info, warning or error."""
    logging.getLogger("edge_app").setLevel(level.upper())


def lines_left_out() -> int:
    """Return how many lines were left out because they repeated others."""
    return sum(limit.left_out for limit in _limits())


def tell_what_was_left_out() -> None:
    """Say it now: the process ends."""
    for limit in _limits():
        limit.tell_all()


def _limits() -> list[RepeatLimit]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, RepeatLimit)]


def _handler(redact: Callable[[str], str]) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    if stderr_is_journal():
        handler.setFormatter(_JournalFormatter(redact))
        return JournalHandler(redact, handler) if SOCKET.exists() else handler
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    handler.setFormatter(_TerminalFormatter(redact) if on_terminal else _Formatter(redact))
    return handler


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
