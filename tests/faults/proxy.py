"""A TCP proxy to a broker that does what networks do: cut, stall, delay, throttle, lose acknowledgements."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
import time

PUBACK = 4
CHUNK_BYTES = 4096


class Proxy:
    """Listens at `port` and passes everything on to `target_port` of this machine.

    Args:
        target_port: See below.
        encrypted: Whether it is TLS that passes, in which no packets can be told apart.

    Attributes:
        away: Whether new connections are closed at once, as if there were no broker.
        delay_s: Each way.
        bytes_per_s: Each way; None: as fast as it goes.
        swallow_up: Whether what the client sends vanishes.
        swallow_down: Whether what the broker sends vanishes.
        lose_pubacks: Whether the broker's PUBACKs vanish.
        connections: How many were made so far.
        attempts_s: `time.monotonic()` of each attempt to make one.
        target_port: Where new connections go.
    """

    def __init__(self, target_port: int, *, encrypted: bool = False) -> None:
        self._encrypted = encrypted
        self.target_port = target_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self.away = False
        self.swallow_up = self.swallow_down = self.lose_pubacks = False
        self.connections = 0
        self.attempts_s: list[float] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset every connection."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for sock in (sock for pair in pairs for sock in pair):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def close(self) -> None:
        """End it, and every connection."""
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.attempts_s.append(time.monotonic())
                if self.away:
                    client.close()
                    continue
                try:
                    broker = socket.create_connection(("127.0.0.1", self.target_port), 5)
                except OSError:
                    client.close()
                    continue
                broker.settimeout(None)
                for sock in (client, broker):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._pairs.append((client, broker))
                    self.connections += 1
                self._pump(client, broker, up=True)
                self._pump(broker, client, up=False)

    def _pump(self, source: socket.socket, target: socket.socket, *, up: bool) -> None:
        waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(source, waiting, up), daemon=True).start()
        threading.Thread(target=self._write, args=(target, waiting), daemon=True).start()

    def _read(self, source: socket.socket, waiting: queue.SimpleQueue[tuple[float, bytes]], up: bool) -> None:
        packets = _Packets()
        try:
            while data := source.recv(CHUNK_BYTES):
                if self.swallow_up if up else self.swallow_down:
                    continue
                if not up and not self._encrypted:
                    data = packets.without_pubacks(data) if self.lose_pubacks else packets.follow(data)
                if data:
                    waiting.put((time.monotonic() + self.delay_s, data))
        except OSError:
            pass
        waiting.put((0.0, b""))

    def _write(self, target: socket.socket, waiting: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        with contextlib.suppress(OSError):
            while True:
                due_s, data = waiting.get()
                time.sleep(max(0.0, due_s - time.monotonic()))
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                if self.bytes_per_s is not None:
                    time.sleep(len(data) / self.bytes_per_s)
                target.sendall(data)


class _Packets:
    """Cuts a stream of MQTT into packets (MQTT 5, section 2.1)."""

    def __init__(self) -> None:
        self._rest = b""

    def follow(self, data: bytes) -> bytes:
        """Pass everything on, keeping in step with the packets."""
        return b"".join(self._packets(data))

    def without_pubacks(self, data: bytes) -> bytes:
        """Pass on everything but PUBACKs."""
        return b"".join(packet for packet in self._packets(data) if packet[0] >> 4 != PUBACK)

    def _packets(self, data: bytes) -> list[bytes]:
        self._rest += data
        found = []
        while (size := self._size()) is not None and len(self._rest) >= size:
            found.append(self._rest[:size])
            self._rest = self._rest[size:]
        return found

    def _size(self) -> int | None:
        length = 0
        for number in range(1, 5):
            if number >= len(self._rest):
                return None
            length |= (self._rest[number] & 127) << (7 * (number - 1))
            if not self._rest[number] & 128:
                return 1 + number + length
        raise ValueError("no MQTT")
