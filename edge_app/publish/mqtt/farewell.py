"""The end of a connection, so that the broker gets to read the goodbye.

A socket that is closed with unread bytes in it resets its connection (RFC 1122, 4.2.2.13; RFC 2525, 2.17).
A broker that meets the reset while it writes to us, as amqtt may, gives up what it has not read yet: a
DISCONNECT among it, after which it publishes our will.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Protocol

LOOK_S = 0.05
"""So often it is asked whether there is no more time."""
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER (socket(7)): on, for no time."""


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
        with self._sock:
            self._hung_up(deadline_s, lambda: False)

    def end_for_certain(self, deadline_s: float, hurried: Callable[[], bool]) -> None:
        """Likewise, but whatever the peer has not taken by then, it never gets.

        What is queued, and the end behind it, would else reach it at any later time, after what a next
        connection says.

        Args:
            deadline_s: A time of the monotonic clock.
            hurried: Asked often; True: as if it were that time.
        """
        with self._sock:
            if not self._hung_up(deadline_s, hurried):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    def _hung_up(self, deadline_s: float, hurried: Callable[[], bool]) -> bool:
        """Wait for the peer; return whether it has seen the end."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
            poller = select.poll()
            poller.register(self._sock, select.POLLIN)
            while (left_s := deadline_s - time.monotonic()) > 0 and not hurried():
                if poller.poll(min(left_s, LOOK_S) * 1000) and not self._sock.recv(1 << 16):
                    return True
        except OSError:  # the connection is gone, and what was queued with it
            return True
        return False
