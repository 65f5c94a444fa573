"""A broker behind TLS that repeats the password it was given in every answer, and breaks the protocol."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import threading
from pathlib import Path

CONNACK, PUBLISH = 0x20, 0x30


class EvilBroker:
    """Takes connections at `port`; each gets another answer, by turns.

    Attributes:
        answered: How many connections were answered.
    """

    def __init__(self, certificates: Path, secret: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        self._server = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
        self.port = int(self._server.getsockname()[1])
        self._answers = itertools.cycle(answers(secret.encode()))
        self.answered = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except ssl.SSLError:
                continue
            except OSError:
                return
            with peer, contextlib.suppress(OSError):
                peer.settimeout(0.5)
                peer.recv(4096)
                peer.sendall(next(self._answers))
                self.answered += 1
                with contextlib.suppress(TimeoutError):
                    while peer.recv(4096):
                        pass


def answers(secret: bytes) -> list[bytes]:
    """What is sent for a CONNECT of MQTT 5: section 3.2 of the specification, and what it forbids."""
    reason = b"\x1f" + len(secret).to_bytes(2, "big") + secret  # the property Reason String
    welcome = packet(CONNACK, b"\x00\x00\x00")
    return [
        packet(CONNACK, b"\x00\x86" + bytes([len(reason)]) + reason),  # bad user name or password
        packet(CONNACK, b"\x00\x00" + bytes([len(reason)]) + b"\x7f" + reason[1:]),  # no such property
        welcome + packet(PUBLISH, b"\x00\x04\xff\xfe\xfd\xfc\x00" + secret),  # a topic that is no text
        welcome + packet(PUBLISH, b"\xff\xff" + secret),  # a topic that goes on behind its end
        b"\xf0" + bytes([len(secret)]) + secret,  # an AUTH that nobody asked for
    ]


def packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes([kind, len(body)]) + body
