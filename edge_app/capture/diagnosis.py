"""Why a camera could not be opened, in words: OpenCV only ever says that it could not."""

from __future__ import annotations

import os
import re
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from edge_app.capture.authorization import authorization
from edge_app.capture.credentials import Credentials
from edge_app.config.camera_uri import CameraUri
from edge_app.errors import AccessRefusedError

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_STATUS = re.compile(rb"(?:RTSP|HTTP)/1\.[01] (\d{3}) ?([ -~]{0,60})")
_CHALLENGE = re.compile(rb"(?im)^WWW-Authenticate:(.*)$")
_LENGTH = re.compile(rb"(?im)^Content-Length:[ \t]*(\d{1,9})[ \t]*\r?$")
_UNAUTHORIZED = (401, 403, 407)
_MOST_BYTES = 1 << 16


def explain_file(location: str) -> str:
    """Say why a video file cannot be opened."""
    path = Path(location)
    try:
        if not path.exists():
            return f"there is no file {location}"
        if not path.is_file():
            return f"{location} is not a file"
        if not os.access(path, os.R_OK):
            return f"{location} may not be read by this user"
        if path.stat().st_size == 0:
            return f"{location} is empty"
    except OSError as error:
        return f"{location} cannot be reached: {error.strerror}"
    return f"{location} holds no video that can be decoded: it is damaged, incomplete, or something else"


def explain_device(location: str) -> str:
    """Say why a video device cannot be opened."""
    path = Path(location)
    if not path.exists():
        return f"there is no device {location}; is the camera plugged in?"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{location} may not be used by this user, who should be in the group video"
    return f"{location} cannot be opened: another program uses it, or it is no camera"


def explain_server(uri: CameraUri, credentials: Credentials, *, timeout_s: float) -> str:
    """Ask the camera's server, as a player does, and say what it answers.

    The credentials are sent where it asks for them: only so a wrong password is told from another trouble of
    a camera that has one.

    Raises:
        AccessRefusedError: It lets nobody in with these credentials, or without any.
    """
    parts = urlsplit(uri.location)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    try:
        status, words = _ask(parts, host, port, credentials, timeout_s)
    except (socket.gaierror, UnicodeError):  # the second: it cannot be a name at all
        return f"the host {host} is not known"
    except ConnectionRefusedError:
        return f"{host}:{port} refuses connections"
    except TimeoutError:
        return f"{host}:{port} does not answer"
    except OSError as error:
        return f"{host}:{port} cannot be reached: {error.strerror or type(error).__name__}"
    except ValueError as error:
        return f"{host}:{port}: {error}"
    if status in _UNAUTHORIZED:
        raise AccessRefusedError(
            f"{host}:{port} refuses this user name and password"
            if credentials
            else f"{host}:{port} asks for a user name and password"
        )
    if status >= 400:
        return f"{host}:{port} answers {status} {words}".rstrip()
    return f"{host}:{port} answers, but sends no video that can be decoded"


def _ask(
    parts: SplitResult, host: str, port: int, credentials: Credentials, timeout_s: float
) -> tuple[int, str]:
    """Return the status and its words of a DESCRIBE or GET; 0 if the answer is neither RTSP nor HTTP.

    Raises ValueError if it asks for a login of a kind that is not known.
    """
    netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    query = f"?{parts.query}" if parts.query else ""
    is_rtsp = parts.scheme.startswith("rtsp")
    if is_rtsp:
        method, target = "DESCRIBE", f"{parts.scheme}://{netloc}{parts.path}{query}"
    else:
        method, target = "GET", f"{parts.path or '/'}{query}"
    with _connect(parts.scheme, host, port, timeout_s) as connection:
        status, words, challenges = _exchange(connection, method, target, netloc, None)
        if status != 401 or not credentials:
            return status, words
        answer = authorization(challenges, credentials, method, target)
        if is_rtsp:  # over the same connection: some cameras' challenges belong to it
            return _exchange(connection, method, target, netloc, answer)[:2]
    with _connect(parts.scheme, host, port, timeout_s) as connection:
        return _exchange(connection, method, target, netloc, answer)[:2]


def _exchange(
    connection: socket.socket, method: str, target: str, netloc: str, answer: str | None
) -> tuple[int, str, list[str]]:
    """Send a request; return status, its words, and what login the other side asks for."""
    if method == "DESCRIBE":
        lines = [f"DESCRIBE {target} RTSP/1.0", f"CSeq: {1 if answer is None else 2}"]
    else:
        lines = [f"GET {target} HTTP/1.0", f"Host: {netloc}"]
    lines += [] if answer is None else [f"Authorization: {answer}"]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode(errors="surrogateescape"))
    received = b""
    while b"\r\n\r\n" not in received and len(received) < _MOST_BYTES:
        more = connection.recv(4096)
        if not more:
            break
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    found = _STATUS.match(head)
    if found is None:
        return 0, "", []
    status, length = int(found[1]), _LENGTH.search(head)
    if status == 401 and length is not None and method == "DESCRIBE":  # HTTP goes on over another connection
        _skip(connection, min(int(length[1]), _MOST_BYTES) - len(body))
    challenges = [value.decode(errors="surrogateescape").strip() for value in _CHALLENGE.findall(head)]
    return status, found[2].decode().strip(), challenges


def _skip(connection: socket.socket, left: int) -> None:
    """Read the rest of a body, which the answer to the next request would come after."""
    with suppress(OSError):  # it may be shorter than it was said to be; the next request tells what is broken
        while left > 0 and (more := connection.recv(min(left, 4096))):
            left -= len(more)


def _connect(scheme: str, host: str, port: int, timeout_s: float) -> socket.socket:
    plain = socket.create_connection((host, port), timeout_s)
    if scheme not in ("rtsps", "https"):
        return plain
    # Cameras sign their own certificates; the capture itself does not check them either.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=host)
