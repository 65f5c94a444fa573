"""The server before clients that are well-behaved, slow, greedy and many: real sockets."""

from __future__ import annotations

import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

import pytest

from edge_app.ops.metrics import server
from edge_app.ops.metrics.server import MOST_CONNECTIONS, REQUEST_BYTES, Answer, Kept, WatchServer
from tests.brokers import free_port, until


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


HELLO = Answer(HTTPStatus.OK, "text/plain", b"hello\n")
ASK = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"


def broken() -> Answer:
    raise RuntimeError("broken on purpose")


@pytest.fixture
def listening() -> Iterator[WatchServer]:
    watch = WatchServer("127.0.0.1", 0, {"/hello": lambda: HELLO, "/broken": broken})
    watch.start()
    until(lambda: watch.port, "it listens")
    yield watch
    watch.stop()


def get(watch: WatchServer, path: str, method: str = "GET") -> tuple[int, bytes]:
    assert watch.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", watch.port, timeout=10)
    connection.request(method, path)
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


def connect(watch: WatchServer) -> socket.socket:
    assert watch.port is not None
    return socket.create_connection(("127.0.0.1", watch.port), timeout=10)


def received(client: socket.socket) -> bytes:
    """Everything until the server hangs up."""
    found = b""
    try:
        while part := client.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def test_it_answers_get_and_head_and_nothing_else(
    listening: WatchServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert get(listening, "/hello?x=1") == (200, b"hello\n")
    assert get(listening, "/hello", "HEAD") == (200, b"")
    assert get(listening, "/other") == (404, b"there are /hello /broken\n")
    assert get(listening, "/hello", "POST")[0] == 501
    assert get(listening, "/broken") == (500, b"it failed; the log says why\n")
    assert "broken on purpose" in caplog.text


def test_a_request_that_is_no_http_is_refused(listening: WatchServer) -> None:
    with connect(listening) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
        assert b"400" in received(client)


def test_a_request_without_end_is_not_read_to_the_end(listening: WatchServer) -> None:
    with connect(listening) as client:
        sent, chunk = 0, b"GET /" + b"x" * 4096
        try:
            while sent < 64 * REQUEST_BYTES:
                sent += client.send(chunk)
                client.settimeout(1)
        except OSError:
            pass
        assert b"200" not in received(client)
    assert get(listening, "/hello")[0] == 200


def test_a_slow_client_has_one_deadline_for_all_of_its_request(
    listening: WatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_S", 0.6)
    with connect(listening) as client:
        begun_s = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012 - which of the two calls notices is a matter of chance
            for letter in b"GET /hello HTTP/1.1\r\nX: " + b"x" * 1000:
                client.sendall(bytes([letter]))
                time.sleep(0.05)
        assert time.monotonic() - begun_s < 5


def test_more_clients_than_are_served_are_turned_away_and_hold_nobody_up(listening: WatchServer) -> None:
    others = threading.active_count()
    idle = [connect(listening) for _ in range(MOST_CONNECTIONS)]
    try:

        def turned_away() -> bool:
            with connect(listening) as client:
                try:
                    client.sendall(ASK)
                except OSError:
                    return True
                return received(client) == b""

        until(turned_away, "one more is turned away")
        assert threading.active_count() <= others + MOST_CONNECTIONS + 1
    finally:
        for client in idle:
            client.close()
    until(lambda: _answers(listening), "it answers again")


def _answers(watch: WatchServer) -> bool:
    try:
        return get(watch, "/hello") == (200, b"hello\n")
    except (OSError, http.client.HTTPException):
        return False


def test_an_answer_is_made_once_for_many_and_again_later() -> None:
    made: list[int] = []

    def make() -> Answer:
        made.append(1)
        return HELLO

    kept = Kept(make, keep_s=0.2)
    assert [kept() for _ in range(50)] == [HELLO] * 50
    assert len(made) == 1
    time.sleep(0.25)
    kept()
    assert len(made) == 2


def test_an_answer_that_takes_for_ever_holds_up_no_more_than_one_request() -> None:
    hangs, go_on = threading.Event(), threading.Event()

    def hang() -> Answer:
        hangs.set()
        go_on.wait(30)
        return HELLO

    paths: dict[str, Callable[[], Answer]] = {"/hang": Kept(hang, making_s=0.2), "/hello": lambda: HELLO}
    watch = WatchServer("127.0.0.1", 0, paths)
    watch.start()
    until(lambda: watch.port, "it listens")
    first = threading.Thread(target=get, args=(watch, "/hang"))
    first.start()
    assert hangs.wait(10)
    try:
        until(lambda: get(watch, "/hang")[0] == 503, "another one is told to come again")
        assert get(watch, "/hello")[0] == 200
    finally:
        go_on.set()
        first.join()
        watch.stop()


def test_an_address_that_is_taken_is_told_once_and_tried_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RETRY_S", 0.05)
    caplog.set_level(logging.INFO)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        watch = WatchServer("127.0.0.1", port, {"/hello": lambda: HELLO})
        watch.start()
        time.sleep(0.3)
        assert caplog.text.count("metrics cannot be had at 127.0.0.1") == 1
    until(lambda: watch.port == port, "it listens")
    assert get(watch, "/hello")[0] == 200
    watch.stop()


def test_it_is_stopped_before_it_could_listen() -> None:
    watch = WatchServer("127.0.0.1", free_port(), {})
    watch.start()
    watch.stop()
    before = WatchServer("127.0.0.1", free_port(), {})
    before.stop()


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
def test_ipv6() -> None:
    watch = WatchServer("::1", 0, {"/hello": lambda: HELLO})
    watch.start()
    try:
        until(lambda: watch.port, "it listens", timeout_s=3)
        assert watch.port is not None
        connection = http.client.HTTPConnection("::1", watch.port, timeout=5)
        connection.request("GET", "/hello")
        assert connection.getresponse().read() == b"hello\n"
        connection.close()
    finally:
        watch.stop()
