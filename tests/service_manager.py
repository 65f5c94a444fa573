"""Stands for systemd at the other end of sd_notify(3): a real socket, and who wrote to it when."""

from __future__ import annotations

import socket
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_CREDENTIALS = struct.Struct("3i")
_DATAGRAM_BYTES = 8192


@dataclass(frozen=True)
class Told:
    """One assignment, such as `READY` = `1`, from the process `pid`, at a time of the monotonic clock."""

    name: str
    value: str
    pid: int
    at_s: float


class ServiceManager:
    """Takes what services say, as `NotifyAccess=main` would see it: with the sender's process id."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self.told: list[Told] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(self.path)
        self._socket.settimeout(0.1)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def environment(self, watchdog_s: float | None = None) -> dict[str, str]:
        """Return what a service finds in its environment."""
        watchdog = {} if watchdog_s is None else {"WATCHDOG_USEC": str(round(watchdog_s * 1e6))}
        return {"NOTIFY_SOCKET": self.path, **watchdog}

    def values(self, name: str) -> list[str]:
        """Return every value that was assigned to a name."""
        return [told.value for told in list(self.told) if told.name == name]

    def names(self) -> list[str]:
        """Return the assigned names in order, repetitions left out."""
        names = [told.name for told in list(self.told)]
        return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]

    def close(self) -> None:
        """Listen no more; what lies in the socket is read first."""
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                content, ancillary, _, _ = self._socket.recvmsg(_DATAGRAM_BYTES, socket.CMSG_SPACE(12))
            except TimeoutError:
                if self._ended.is_set():
                    return
                continue
            (_, _, credentials), *_ = ancillary
            pid, *_ = _CREDENTIALS.unpack(credentials[: _CREDENTIALS.size])
            now_s = time.monotonic()
            for line in content.decode().splitlines():
                name, _, value = line.partition("=")
                self.told.append(Told(name, value, pid, now_s))
