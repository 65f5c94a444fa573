"""How long a broker has said nothing, though it could have."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time
from typing import Any

from edge_app.patience import Patience

LOOK_S = 1.0
"""Of the time between two looks no more counts: it is not the broker's if the whole process stood still."""
LARGE_BYTES = 16 << 10
"""With so much on its way an answer may have to wait for the upload; with less, it is no excuse."""
ACKED_AT, INFO_BYTES = 120, 128
"""Of tcp_info (linux/tcp.h): where `tcpi_bytes_acked` is, and its end. Linux before 4.1 does not have it."""


class Silence:
    """Counts the time in which a broker has said nothing, and says when to ask it for a sign of life.

    What it is asked lies behind what is being uploaded: with a picture on a slow uplink it cannot answer in
    time. So it is no silence while a large rest gets smaller, which the peer's TCP tells.

    Args:
        keepalive_s: How often it is asked, from now on.
    """

    def __init__(self, keepalive_s: float) -> None:
        self._keepalive_s = keepalive_s
        self._patience = Patience(LOOK_S)
        self._asked_at_s = time.monotonic()
        self._heard = self._uploads = 0
        self._acked_bytes = self._left_bytes = 0

    def heard(self) -> None:
        """It has said something."""
        self._heard += 1

    def look(self, sock: Any) -> float:
        """Return for how many seconds it has been silent on this socket."""
        acked_bytes, left_bytes = _upload(sock)
        if self._left_bytes >= LARGE_BYTES and acked_bytes > self._acked_bytes:
            self._uploads += 1
        self._acked_bytes, self._left_bytes = acked_bytes, left_bytes
        return self._patience.look(work=True, done=(self._heard, self._uploads))

    def asks(self) -> bool:
        """Return whether it is time to ask, and take it that it is asked then.

        Asked whatever it says meanwhile: it wants to hear of us as often.
        """
        due = time.monotonic() - self._asked_at_s >= self._keepalive_s
        if due:
            self._asked_at_s = time.monotonic()
        return due


def _upload(sock: Any) -> tuple[int, int]:
    """Return how many bytes the peer's TCP has, and how many the kernel holds that it has not; 0: unknown."""
    if not hasattr(socket, "TCP_INFO"):
        return 0, 0
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_BYTES)
    if len(info) < INFO_BYTES:
        return 0, 0
    (acked_bytes,) = struct.unpack_from("=Q", info, ACKED_AT)
    (left_bytes,) = struct.unpack("=i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))
    return acked_bytes, left_bytes
