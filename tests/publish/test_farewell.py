"""A goodbye is read, whatever the broker has just sent that nobody reads any more."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from edge_app.publish.mqtt.farewell import Farewell


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    theirs.settimeout(5)
    return ours, theirs


def test_the_peer_reads_the_goodbye_although_we_left_its_words_unread() -> None:
    ours, theirs = pair()
    with theirs:
        theirs.sendall(b"the echo of a status" * 100)
        farewell = Farewell(ours)
        ours.sendall(b"\xe0\x00")
        ours.close()
        ending = threading.Thread(target=farewell.end, args=(time.monotonic() + 5,))
        began_s = time.monotonic()
        ending.start()
        theirs.sendall(b"and one more")  # the broker has not looked at its socket yet
        time.sleep(0.1)
        assert theirs.recv(10) == b"\xe0\x00"
        assert theirs.recv(10) == b""
    ending.join()
    assert time.monotonic() - began_s < 4, "the peer's hanging up ends it"


def test_a_peer_that_does_not_hang_up_is_not_waited_for() -> None:
    ours, theirs = pair()
    with theirs:
        farewell = Farewell(ours)
        ours.close()
        began_s = time.monotonic()
        farewell.end(began_s + 0.2)
        assert 0.1 < time.monotonic() - began_s < 3


def test_a_peer_that_takes_its_time_gets_everything_and_is_waited_for() -> None:
    ours, theirs = pair()
    with theirs:
        farewell = Farewell(ours)
        sent = fill(ours)
        ending = threading.Thread(target=farewell.end_for_certain, args=(time.monotonic() + 5, lambda: False))
        ending.start()
        time.sleep(0.2)
        assert ending.is_alive()
        assert sum(map(len, iter(lambda: theirs.recv(1 << 16), b""))) == sent
    ending.join(2)
    assert not ending.is_alive()


@pytest.mark.parametrize("hurried", [False, True])
def test_what_the_peer_has_not_taken_in_time_it_never_gets(hurried: bool) -> None:
    ours, theirs = pair()
    with theirs:
        farewell = Farewell(ours)
        sent = fill(ours)
        began_s = time.monotonic()
        farewell.end_for_certain(began_s + (5 if hurried else 0.2), lambda: hurried)
        assert time.monotonic() - began_s < 3
        got: list[int] = []
        with pytest.raises(ConnectionResetError):
            got.extend(map(len, iter(lambda: theirs.recv(1 << 16), b"")))
        assert sum(got) < sent


def fill(sock: socket.socket) -> int:
    """Send until nothing more is taken, and close; return how many bytes."""
    sent = 0
    sock.setblocking(False)
    with sock, contextlib.suppress(BlockingIOError):
        while True:
            sent += sock.send(bytes(1 << 16))
    return sent
