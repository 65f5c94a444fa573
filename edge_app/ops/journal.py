"""systemd's journal, told directly, so that it keeps fields beside the words.

The protocol is that of https://systemd.io/JOURNAL_NATIVE_PROTOCOL/: a datagram of `FIELD=value` lines, a
value with line breaks as `FIELD`, a 64-bit length and its bytes; what is too large in a sealed memfd.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from edge_app.ops.log_fields import fields_of

SOCKET = Path("/run/systemd/journal/socket")
IDENTIFIER = "edge-app"
PATIENCE_S = 0.1
"""How long a line waits for a journal that is busy; while it hangs, lines are counted and no longer wait."""
SEND_BUFFER_BYTES = 8 << 20

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def stderr_is_journal(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether standard error goes to the journal, by `JOURNAL_STREAM` of systemd.exec(5)."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # closed, or no file at all
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def priority_of(level: int) -> int:
    """Return the priority of syslog(3) that a level of the log means."""
    steps = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
    return next((priority for least, priority in steps if level >= least), 7)


class JournalHandler(logging.Handler):
    """Sends records to the journal. Never waits for it for long: the video would wait too.

    Args:
        redact: Takes every value and returns it without secrets.
        path: The journal's socket.
        fallback: Gets the records that cannot be sent because there is no journal.

    Attributes:
        missed: Records that the journal did not take, and does not know of yet.
    """

    def __init__(self, redact: Callable[[str], str], fallback: logging.Handler, path: Path = SOCKET) -> None:
        super().__init__()
        self._redact, self.fallback, self._path = redact, fallback, path
        self._words = logging.Formatter()
        self.missed = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; called with the handler's lock."""
        try:
            if not self._sent(self._encoded(self._values(record))):
                self.missed += 1
            elif self.missed:
                self._tell_of_missed()
        except OSError:
            self.fallback.handle(record)
        except Exception:  # noqa: BLE001 - as every handler does
            self.handleError(record)

    def _tell_of_missed(self) -> None:
        """Tell how many lines are missing; they count on until the journal has taken that, too."""
        words = f"{self.missed} lines of the log are missing before this: the journal did not take them"
        with contextlib.suppress(OSError):  # it ended just now; the record itself has arrived
            if self._sent(self._encoded({"MESSAGE": words, "PRIORITY": "4", **_whose()})):
                self.missed = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def _values(self, record: logging.LogRecord) -> dict[str, str]:
        values = {
            "MESSAGE": self._words.format(record),
            "PRIORITY": str(priority_of(record.levelno)),
            **_whose(),
            "LOGGER": record.name,
            "THREAD": str(record.threadName),
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": str(record.funcName),
            **fields_of(record),
        }
        return {name: self._redact(value) for name, value in values.items()}

    @staticmethod
    def _encoded(values: Mapping[str, str]) -> bytes:
        parts = []
        for name, value in values.items():
            content = value.encode(errors="replace")
            if b"\n" in content:
                parts.append(name.encode() + b"\n" + struct.pack("<Q", len(content)) + content + b"\n")
            else:
                parts.append(name.encode() + b"=" + content + b"\n")
        return b"".join(parts)

    def _sent(self, message: bytes) -> bool:
        """Send a message; return False if the journal does not take it now. Raises OSError."""
        self._socket.settimeout(0 if self.missed else PATIENCE_S)
        try:
            try:
                self._socket.sendto(message, str(self._path))
            except OSError as error:
                if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                    raise
                self._send_in_memory(message)
        except (BlockingIOError, TimeoutError):
            return False
        return True

    def _send_in_memory(self, message: bytes) -> None:
        descriptor = os.memfd_create("journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(descriptor, "wb") as memory:
            memory.write(message)
            memory.flush()
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", memory.fileno()))]
            self._socket.sendmsg([], ancillary, 0, str(self._path))


def _whose() -> dict[str, str]:
    return {"SYSLOG_IDENTIFIER": IDENTIFIER, "SYSLOG_PID": str(os.getpid())}
