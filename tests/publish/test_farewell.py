"""A goodbye is read, whatever the broker has just sent that nobody reads any more."""

from __future__ import annotations

import socket
import threading
import time

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
