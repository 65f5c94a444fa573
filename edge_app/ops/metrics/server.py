"""A small HTTP server for whoever watches the daemon; whatever comes, it costs the video next to nothing.

At most `MOST_CONNECTIONS` are served at a time. Each has `REQUEST_S` seconds and `REQUEST_BYTES` bytes for a
request and gets one answer, and an answer that was made is given again for `KEEP_S` seconds.
"""

from __future__ import annotations

import io
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 8
REQUEST_BYTES = 8192
REQUEST_S = 5.0
KEEP_S = 1.0
MAKING_S = 2.0
"""How long a request waits for another one's answer: a sensor may hang."""
POLL_S = 0.25
"""How soon it is noticed that nobody shall be served any more."""
RETRY_S = 10.0
"""How often an address that is taken is tried again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path answers."""

    status: HTTPStatus
    content_type: str
    body: bytes


class Busy(Exception):  # noqa: N818 - control flow, not an error
    """Another request's answer is being made, and takes long."""


class Kept:
    """Makes an answer for one request at a time, and keeps it for a while.

    Args:
        make: Makes it.
        keep_s: For how long it is given again, in seconds.
        making_s: How long a request waits while another one's is made, in seconds.
    """

    def __init__(
        self, make: Callable[[], Answer], keep_s: float = KEEP_S, making_s: float = MAKING_S
    ) -> None:
        self._make, self._keep_s, self._making_s = make, keep_s, making_s
        self._lock = threading.Lock()
        self._answer: Answer | None = None
        self._until_s = 0.0

    def __call__(self) -> Answer:
        """Return an answer no older than `keep_s`. Raises Busy."""
        if not self._lock.acquire(timeout=self._making_s):
            raise Busy
        try:
            if self._answer is None or time.monotonic() >= self._until_s:
                self._answer = self._make()
                self._until_s = time.monotonic() + self._keep_s
            return self._answer
        finally:
            self._lock.release()


class WatchServer:
    """Answers GET and HEAD on its own threads; begins to listen as soon as the address is free.

    Args:
        host: Address to listen at, without brackets.
        port: 0: a free one.
        paths: What answers, by path.
    """

    def __init__(self, host: str, port: int, paths: Mapping[str, Callable[[], Answer]]) -> None:
        self._host, self._port, self._paths = host, port, dict(paths)
        self._stop = threading.Event()
        self._server: _Server | None = None
        self._thread = threading.Thread(target=self._main, name="metrics", daemon=True)

    @property
    def port(self) -> int | None:
        """Where it listens; None while it does not."""
        return None if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more. Returns within a second; an answer that is being made is left behind."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def _main(self) -> None:
        shown = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        said = False
        while not self._stop.is_set():
            try:
                server = _Server((self._host, self._port), self._paths)
            except OSError as error:
                if not said:
                    logger.warning(
                        "metrics cannot be had at %s: %s. The daemon goes on without, and tries again; "
                        "metrics.address chooses another one",
                        shown,
                        error.strerror or error,
                    )
                said = True
                self._stop.wait(RETRY_S)
                continue
            with server:
                self._server = server
                logger.info("metrics and health at http://%s", shown)
                while not self._stop.is_set():
                    server.handle_request()
            return


class _Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    timeout = POLL_S
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, address: tuple[str, int], paths: Mapping[str, Callable[[], Answer]]) -> None:
        self.paths = paths
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; without descriptors left, not again at once."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(POLL_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve it on a thread of its own, or hang up where too many are served already."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve it; see `ThreadingMixIn`."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - given by the base
        """A client that hangs up or is slow is no news; anything else is a fault of ours."""
        logger.debug("a request was not answered", exc_info=sys.exc_info())


class _RequestBytes(io.RawIOBase):
    """What comes from a client: no more than so much, and within one time for all of it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._left = REQUEST_BYTES
        self._deadline_s = time.monotonic() + REQUEST_S

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some; nothing once there was too much. Raises TimeoutError."""
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        count = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "edge-app"
    sys_version = ""
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s\n"

    def setup(self) -> None:
        """Bound what is read."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_RequestBytes(self.connection), REQUEST_BYTES)

    def do_GET(self) -> None:
        """Answer with the body."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without it."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        make = self.server.paths.get(self.path.partition("?")[0])
        if make is None:
            answer = _text(HTTPStatus.NOT_FOUND, f"there are {' '.join(self.server.paths)}")
        else:
            try:
                answer = make()
            except Busy:
                answer = _text(HTTPStatus.SERVICE_UNAVAILABLE, "another answer is being made and takes long")
            except Exception:
                logger.exception("%s cannot be answered", self.path.partition("?")[0])
                answer = _text(HTTPStatus.INTERNAL_SERVER_ERROR, "it failed; the log says why")
        self.connection.settimeout(REQUEST_S)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if with_body:
            with suppress(OSError):  # it has hung up, or does not read
                self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's word
        """Requests are not logged."""


def _text(status: HTTPStatus, words: str) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", f"{words}\n".encode())
