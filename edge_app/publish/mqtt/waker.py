"""Ends the wait of the thread that runs a connection."""

from __future__ import annotations

import contextlib
import socket


class Waker:
    """Ends another thread's wait in `poll`. Thread-safe; waking twice costs nothing."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._ringing = False

    def fileno(self) -> int:
        """Readable while awake."""
        return self._reader.fileno()

    def wake(self) -> None:
        """End the wait, or the next one."""
        if not self._ringing:
            self._ringing = True
            with contextlib.suppress(OSError):  # full: it is awake already; closed: nobody waits
                self._writer.send(b"!")

    def clear(self) -> None:
        """Allow the next wait; call it before looking for what one was woken for."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(64)
        self._ringing = False  # last: whoever rings in between left its message before, and it will be seen

    def close(self) -> None:
        """Free the sockets."""
        self._reader.close()
        self._writer.close()
