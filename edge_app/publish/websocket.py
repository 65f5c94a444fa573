"""A client's end of a WebSocket that carries MQTT, in the shape of a socket.

Format: RFC 6455 and, for what MQTT asks of it, section 6 of MQTT 5. The MQTT library has one of its own,
which loses a packet that the socket does not take at once, and sends pongs unmasked, in the middle of frames.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import ssl
import struct
import time

PROTOCOL = "mqtt"
MOST_ANSWER_BYTES = 16384
CHUNK_BYTES = 65536
CONTINUATION, BINARY, CLOSE, PING, PONG = 0x0, 0x2, 0x8, 0x9, 0xA
_CONTROL = 0x8
"""The bit of an opcode that tells control frames."""
_FINAL, _RESERVED, _MASKED = 0x80, 0x70, 0x80
_MOST_CONTROL_BYTES = 125
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_NORMAL_CLOSURE = struct.pack("!H", 1000)
_WOULD_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class WebSocketRefusedError(ConnectionError):
    """The other side did not make a WebSocket of the connection; the text says why."""


class WebSocket:
    """Carries bytes in binary frames over a connected socket. Not thread-safe.

    What came in more bytes than were asked for waits inside: `pending` tells, for no `poll` can.

    Args:
        sock: Connected, and encrypted where the URI says so; closed when this fails.
        host: As the URI names it, with the port where that is not the scheme's own.
        path: Begins with a slash.
        timeout_s: Longest time for all of the handshake.

    Raises:
        WebSocketRefusedError: The other side answers otherwise than with a WebSocket for MQTT.
        OSError: The connection broke, or took too long.
    """

    def __init__(self, sock: socket.socket, host: str, path: str, timeout_s: float) -> None:
        self._sock = sock
        self._raw = bytearray()
        """Came in, and is not taken apart yet: less than a frame's header, or than a control frame."""
        self._payload = bytearray()
        self._frame_left = 0
        """Bytes of the data frame being read that have not come yet."""
        self._out = bytearray()
        """Of the frame that is on its way."""
        self._pong: bytes | None = None
        """Body of the newest ping without an answer: the older ones need none (RFC 6455, section 5.5.3)."""
        self._sending = 0
        """Length of the data whose frame is on its way."""
        self._closed = False
        try:
            self._handshake(host, path, time.monotonic() + timeout_s)
        except BaseException:
            sock.close()
            raise

    def send(self, data: bytes | bytearray) -> int:
        """Send data as one frame; return its length once all of it is out.

        Raises:
            BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError: Call again with the same data.
        """
        if not self._sending:
            self._out += _frame(BINARY, data)
            self._sending = len(data)
        self._flush()
        sent, self._sending = self._sending, 0
        return sent

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes; none once the other side has closed.

        Raises:
            BlockingIOError, ssl.SSLWantReadError: Nothing has come.
            ConnectionError: The other side broke the rules.
        """
        if not self._payload and not self._closed:
            chunk = self._sock.recv(CHUNK_BYTES)
            if not chunk:
                return b""
            self._raw += chunk
            self._take_apart()
        if self._payload:
            data = bytes(self._payload[:size])
            del self._payload[:size]
            return data
        if self._closed:
            return b""
        raise BlockingIOError

    def pending(self) -> int:
        """Return how many bytes can be had although the socket may never become readable again."""
        decrypted = self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else 0
        return len(self._payload) + decrypted

    def fileno(self) -> int:
        """For `poll`."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        """See `socket.socket`."""
        self._sock.setblocking(flag)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """See `socket.socket`."""
        self._sock.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """See `socket.socket`."""
        return self._sock.getsockopt(level, option, size)

    def close(self) -> None:
        """Say goodbye if that takes no time, and close."""
        if not self._closed and not self._out:
            self._closed = True
            with contextlib.suppress(OSError):
                self._sock.send(_frame(CLOSE, _NORMAL_CLOSURE))
        self._sock.close()

    def _handshake(self, host: str, path: str, deadline_s: float) -> None:
        key = base64.b64encode(os.urandom(16))
        request = (
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key.decode()}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {PROTOCOL}",
            "User-Agent: edge-app",
        )
        self._sock.settimeout(_left_s(deadline_s))
        self._sock.sendall(("\r\n".join(request) + "\r\n\r\n").encode("ascii"))
        answer = bytearray()
        while (end := answer.find(b"\r\n\r\n")) < 0:
            if len(answer) > MOST_ANSWER_BYTES:
                raise WebSocketRefusedError("it answers with something that is not HTTP, or does not end")
            self._sock.settimeout(_left_s(deadline_s))
            chunk = self._sock.recv(CHUNK_BYTES)
            if not chunk:
                raise WebSocketRefusedError("it hung up")
            answer += chunk
        _check_answer(bytes(answer[:end]), key)
        self._raw += answer[end + 4 :]
        self._take_apart()

    def _take_apart(self) -> None:
        """Make payload of what came in, as far as it is complete; answer pings and the end."""
        while self._raw and not self._closed:
            if self._frame_left:
                taken = self._raw[: self._frame_left]
                del self._raw[: self._frame_left]
                self._payload += taken
                self._frame_left -= len(taken)
                continue
            header = _header(self._raw)
            if header is None:
                return
            opcode, start, length = header
            if opcode & _CONTROL:
                if len(self._raw) < start + length:
                    return
                body = bytes(self._raw[start : start + length])
                del self._raw[: start + length]
                self._answer(opcode, body)
            else:
                del self._raw[:start]
                self._frame_left = length

    def _answer(self, opcode: int, body: bytes) -> None:
        if opcode == PING:
            self._pong = body
        elif opcode == CLOSE:
            self._out += _frame(CLOSE, body[:2])
            self._pong, self._closed = None, True
        with contextlib.suppress(*_WOULD_WAIT):  # it goes with what is sent next
            self._flush()

    def _flush(self) -> None:
        """Send what is on its way, then the answer to the newest ping: frames do not mix."""
        while self._out or self._pong is not None:
            if not self._out and self._pong is not None:
                self._out += _frame(PONG, self._pong)
                self._pong = None
            sent = self._sock.send(self._out)
            del self._out[:sent]


def _left_s(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _check_answer(answer: bytes, key: bytes) -> None:
    """Raise WebSocketRefusedError unless an HTTP answer begins a WebSocket."""
    status, *lines = answer.decode("latin-1").split("\r\n")
    version, _, rest = status.partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/") or not code.isdigit():
        raise WebSocketRefusedError("it answers with something that is not HTTP")
    if code != "101":
        raise WebSocketRefusedError(f"it answers with HTTP {code}")
    fields = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    tokens = [token.strip().lower() for token in fields.get("connection", "").split(",")]
    if fields.get("upgrade", "").lower() != "websocket" or "upgrade" not in tokens:
        raise WebSocketRefusedError("it upgrades to something that is no WebSocket")
    # SHA-1 is what RFC 6455 says; it proves that the answer is one to this question, and protects nothing.
    expected = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    if fields.get("sec-websocket-accept") != expected:
        raise WebSocketRefusedError("its answer is to another question (Sec-WebSocket-Accept)")
    if fields.get("sec-websocket-protocol", PROTOCOL) != PROTOCOL:
        raise WebSocketRefusedError("it speaks another protocol than mqtt there")
    if "sec-websocket-extensions" in fields:
        raise WebSocketRefusedError("it wants extensions that were not offered")


def _header(raw: bytearray) -> tuple[int, int, int] | None:
    """Return opcode, length of the header and length of the payload; None if more must come first."""
    if len(raw) < 2:
        return None
    opcode, length = raw[0] & 0x0F, raw[1] & 0x7F
    if raw[0] & _RESERVED or raw[1] & _MASKED:
        raise ConnectionError("the server's WebSocket frames break RFC 6455")
    if opcode not in (CONTINUATION, BINARY, CLOSE, PING, PONG):
        raise ConnectionError("MQTT travels in binary frames, and this is another kind")
    if opcode & _CONTROL and (length > _MOST_CONTROL_BYTES or not raw[0] & _FINAL):
        raise ConnectionError("the server's WebSocket control frames break RFC 6455")
    if length < 126:
        return opcode, 2, length
    size = 2 if length == 126 else 8
    if len(raw) < 2 + size:
        return None
    return opcode, 2 + size, int.from_bytes(raw[2 : 2 + size], "big")


def _frame(opcode: int, data: bytes | bytearray) -> bytes:
    """Return a final frame, masked as a client's must be."""
    length, mask = len(data), os.urandom(4)
    if length < 126:
        header = struct.pack("!BB", _FINAL | opcode, _MASKED | length)
    elif length < 65536:
        header = struct.pack("!BBH", _FINAL | opcode, _MASKED | 126, length)
    else:
        header = struct.pack("!BBQ", _FINAL | opcode, _MASKED | 127, length)
    key = (mask * (length // 4 + 1))[:length]
    masked = int.from_bytes(data, "big") ^ int.from_bytes(key, "big")  # one step for all bytes
    return header + mask + masked.to_bytes(length, "big")
