"""What an RTSP camera offers, by its own description: DESCRIBE (RFC 2326) answered with SDP (RFC 8866)."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from edge_app.capture.authorization import authorization
from edge_app.capture.credentials import Credentials
from edge_app.errors import CaptureError

_PORTS = {"rtsp": 554, "rtsps": 322}
_MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Track:
    """One track of a stream.

    Attributes:
        media: video, audio or application.
        codec: As in SDP: H264, H265, PCMU, MPEG4-GENERIC; None where it is not told.
        fps: Frames a second, where the camera tells.
    """

    media: str
    codec: str | None
    fps: float | None = None

    def __str__(self) -> str:
        rate = "" if self.fps is None else f" {self.fps:g} fps"
        return f"{self.media} {self.codec or 'of unknown codec'}{rate}"


def describe_tracks(location: str, credentials: Credentials, timeout_s: float) -> tuple[Track, ...]:
    """Ask a camera for its tracks.

    Args:
        location: An rtsp:// or rtsps:// URL without credentials.
        credentials: Sent as Basic or Digest (RFC 7616), as the camera asks.
        timeout_s: For connecting and for each answer.

    Raises:
        CaptureError: It cannot be reached, refuses, or does not describe itself.
    """
    parts = urlsplit(location)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    url = f"{parts.scheme}://{shown}{parts.path}{'?' + parts.query if parts.query else ''}"
    try:
        with _connect(parts, host, port, timeout_s) as connection:
            status, headers, body = _ask(connection, url, 1, None)
            if status == 401 and credentials:
                challenges = [value for name, value in headers if name == "www-authenticate"]
                answer = authorization(challenges, credentials, "DESCRIBE", url)
                status, headers, body = _ask(connection, url, 2, answer)
    except (OSError, ValueError) as error:
        raise CaptureError(f"{shown} does not describe itself: {error}") from None
    if status != 200:
        raise CaptureError(f"{shown} answers {status}")
    return parse_sdp(body)


def parse_sdp(text: str) -> tuple[Track, ...]:
    """Return the tracks of a session description, in its order."""
    tracks = []
    for section in re.split(r"(?m)^(?=m=)", text)[1:]:
        media = re.match(r"m=(\w+)", section)
        codec = re.search(r"(?m)^a=rtpmap:\d+ ([\w.-]+)/", section)
        rate = re.search(r"(?m)^a=framerate:[ \t]*(\d{1,6}(?:\.\d{1,9})?)", section)
        static = {"0": "PCMU", "8": "PCMA", "26": "JPEG"}.get(section.split("\n")[0].split()[-1])
        name = codec[1].upper() if codec else static
        tracks.append(Track(media[1] if media else "unknown", name, float(rate[1]) if rate else None))
    return tuple(tracks)


def _connect(parts: SplitResult, host: str, port: int, timeout_s: float) -> socket.socket:
    plain = socket.create_connection((host, port), timeout_s)
    if parts.scheme != "rtsps":
        return plain
    # Cameras sign their own certificates; the capture itself does not check them either.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=host)


def _ask(
    connection: socket.socket, url: str, number: int, answer: str | None
) -> tuple[int, list[tuple[str, str]], str]:
    """Send DESCRIBE and return status, headers with lower-case names, and body."""
    lines = [f"DESCRIBE {url} RTSP/1.0", f"CSeq: {number}", "Accept: application/sdp"]
    lines += [f"Authorization: {answer}"] if answer else []
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode(errors="surrogateescape"))
    head, rest = _until_blank_line(connection)
    status = re.match(r"RTSP/1\.\d (\d{3})", head)
    if status is None:
        raise ValueError("its answer is not RTSP")
    headers = [
        (name.strip().lower(), value.strip())
        for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
    ]
    length = int(next((value for name, value in headers if name == "content-length"), "0"))
    if length < 0:
        raise ValueError("its answer has a length below 0")
    while len(rest) < min(length, _MOST_BYTES):
        more = connection.recv(4096)
        if not more:
            break
        rest += more
    return int(status[1]), headers, rest[:length].decode("utf-8", "replace").replace("\r\n", "\n")


def _until_blank_line(connection: socket.socket) -> tuple[str, bytes]:
    received = b""
    while b"\r\n\r\n" not in received and len(received) < _MOST_BYTES:
        more = connection.recv(4096)
        if not more:
            raise ValueError("it hung up")
        received += more
    head, _, rest = received.partition(b"\r\n\r\n")
    return head.decode(errors="surrogateescape"), rest
