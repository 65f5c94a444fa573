"""Why a camera could not be opened, in words: OpenCV only ever says that it could not."""

from __future__ import annotations

import os
import re
import socket
import ssl
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from edge_app.capture.credentials import Credentials
from edge_app.config.camera_uri import CameraUri

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_STATUS = re.compile(rb"(?:RTSP|HTTP)/1\.[01] (\d{3}) ?([ -~]{0,60})")
_UNAUTHORIZED = (401, 403, 407)


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
    """Ask the camera's server, without credentials, and say what it answers."""
    parts = urlsplit(uri.location)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    try:
        status, words = _ask(parts, host, port, timeout_s)
    except (socket.gaierror, UnicodeError):  # the second: it cannot be a name at all
        return f"the host {host} is not known"
    except ConnectionRefusedError:
        return f"{host}:{port} refuses connections"
    except TimeoutError:
        return f"{host}:{port} does not answer"
    except OSError as error:
        return f"{host}:{port} cannot be reached: {error.strerror or type(error).__name__}"
    if status in _UNAUTHORIZED:
        return (
            f"{host}:{port} refuses this user name and password"
            if credentials
            else f"{host}:{port} asks for a user name and password"
        )
    if status >= 400:
        return f"{host}:{port} answers {status} {words}".rstrip()
    return f"{host}:{port} answers, but sends no video that can be decoded"


def _ask(parts: SplitResult, host: str, port: int, timeout_s: float) -> tuple[int, str]:
    """Return the status and its words of a DESCRIBE or GET; 0 if the answer is neither RTSP nor HTTP."""
    netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    query = f"?{parts.query}" if parts.query else ""
    if parts.scheme.startswith("rtsp"):
        request = f"DESCRIBE {parts.scheme}://{netloc}{parts.path}{query} RTSP/1.0\r\nCSeq: 1\r\n\r\n"
    else:
        request = f"GET {parts.path or '/'}{query} HTTP/1.0\r\nHost: {netloc}\r\n\r\n"
    plain = socket.create_connection((host, port), timeout_s)
    with _encrypted(plain, host) if parts.scheme in ("rtsps", "https") else plain as connection:
        connection.sendall(request.encode())
        answer = _STATUS.match(connection.recv(4096))
    return (int(answer[1]), answer[2].decode().strip()) if answer else (0, "")


def _encrypted(connection: socket.socket, host: str) -> socket.socket:
    # Cameras sign their own certificates, and nothing secret is sent here.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection, server_hostname=host)
