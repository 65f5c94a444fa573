"""A broker at the other end of a WebSocket that says whatever it is given."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket
import threading

from edge_app.publish.websocket import WebSocket

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def websocket_reads(data: bytes) -> bytes:
    """Return what a WebSocket makes of the bytes that a server sends after its handshake."""
    ours, theirs = socket.socketpair()
    server = threading.Thread(target=_serve, args=(theirs, data), daemon=True)
    server.start()
    taken = bytearray()
    try:
        pipe = WebSocket(ours, "broker", "/mqtt", 5.0)
        ours.settimeout(5.0)
        with contextlib.suppress(BrokenPipeError):
            while True:
                try:
                    chunk = pipe.recv(4096)
                except BlockingIOError:
                    continue
                if not chunk:
                    break
                taken += chunk
        assert len(taken) <= len(data)
        return bytes(taken)
    finally:
        ours.close()
        server.join(5)
        theirs.close()


def _serve(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(4096)
        found = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
        assert found is not None
        accept = base64.b64encode(hashlib.sha1(found[1] + _GUID, usedforsecurity=False).digest())
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + data
        )
        connection.shutdown(socket.SHUT_WR)
