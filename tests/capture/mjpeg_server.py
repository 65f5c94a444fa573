"""A Motion JPEG camera over HTTP, as a thread: it may freeze, change its size, or ask for a password."""

from __future__ import annotations

import base64
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2

from tests.capture.parts import picture

FPS = 30


class MjpegServer(ThreadingHTTPServer):
    """Serves `/stream` until it is closed; `frozen` holds back the pictures, `size` is theirs."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, *, username: str | None = None, password: str | None = None, root: Path | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.size = (320, 240)
        self.frozen = threading.Event()
        self.closed = threading.Event()
        self.root = root
        self.authorization = None
        if username is not None:
            token = base64.b64encode(f"{username}:{password}".encode()).decode()
            self.authorization = f"Basic {token}"
        self.uri = f"http://127.0.0.1:{self.server_address[1]}/stream"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.closed.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: MjpegServer

    def do_GET(self) -> None:
        wanted = self.server.authorization
        if wanted is not None and self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
        elif self.path == "/stream":
            self._stream()
        else:
            self._file()

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        index = 0
        while not self.server.closed.is_set():
            if not self.server.frozen.is_set():
                jpeg = cv2.imencode(".jpg", picture(index, self.server.size))[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
                except OSError:
                    return
                index += 1
            time.sleep(1 / FPS)

    def _file(self) -> None:
        path = None if self.server.root is None else self.server.root / self.path.lstrip("/")
        if path is None or not path.is_file():
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        self.wfile.write(path.read_bytes())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass
