"""The end of a connection, so that the broker gets to read the goodbye.

A socket that is closed with unread bytes in it resets its connection (RFC 1122, 4.2.2.13; RFC 2525, 2.17).
A broker that meets the reset while it writes to us, as amqtt may, gives up what it has not read yet: a
DISCONNECT among it, after which it publishes our will.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from typing import Protocol


class Connected(Protocol):
    """What has the descriptor of a connected TCP socket, encrypted or not."""

    def fileno(self) -> int:
        """Return it."""


class Farewell:
    """Keeps a connection open while the library closes its socket, and ends it in order afterwards.

    Args:
        sock: What the library is about to close.
    """

    def __init__(self, sock: Connected) -> None:
        self._sock = socket.socket(fileno=os.dup(sock.fileno()))
        self._sock.setblocking(False)

    def end(self, deadline_s: float) -> None:
        """Send no more, and read what comes until the peer hangs up, or a time of the monotonic clock."""
        with self._sock, contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            poller = select.poll()
            poller.register(self._sock, select.POLLIN)
            while (left_s := deadline_s - time.monotonic()) > 0:
                if poller.poll(left_s * 1000) and not self._sock.recv(1 << 16):
                    return
