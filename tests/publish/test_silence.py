"""A broker that says nothing: when it is given up, and when it could not have said anything."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from edge_app.publish.broker import BrokerAddress, BrokerOptions
from edge_app.publish.mqtt.client import SteadyClient
from edge_app.publish.mqtt.session import Leave, MqttSession
from edge_app.publish.mqtt.waker import Waker
from edge_app.publish.refusal import EndKind, RepeatFilter, SessionEnd
from edge_app.publish.traffic import Message, Traffic
from edge_app.publish.troubles import BrokerTroubles
from tests.brokers import until

KEEPALIVE_S = 1
PATIENCE_S = 1.5
CONNACK = bytes([0x20, 3, 0, 0, 0])
CONNACK_KEEPALIVE = bytes([0x20, 6, 0, 0, 3, 0x13, 0, KEEPALIVE_S])
"""With a Server Keep Alive (MQTT 5, section 3.2.2.3.14)."""
PINGREQ, PINGRESP = bytes([0xC0, 0]), bytes([0xD0, 0])
SMALL_BYTES = 16 << 10


class SlowBroker:
    """Takes one connection, reads from it as fast as it is told to, and answers what it has read.

    Attributes:
        connack: What it answers CONNECT with.
        bytes_per_s: 0: it reads nothing.
        read: How many bytes it has read.
        asked: How often it was asked for a sign of life.
    """

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)  # the peer is told to wait
        self.port = int(self._server.getsockname()[1])
        self.connack, self.bytes_per_s = CONNACK, 1 << 30
        self.read = self.asked = 0
        self._closed = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._closed = True
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _serve(self) -> None:
        try:
            sock, _ = self._server.accept()
        except OSError:
            return
        with sock:
            sock.recv(4096)
            sock.sendall(self.connack)
            while not self._closed:
                if not self.bytes_per_s:
                    time.sleep(0.05)
                    continue
                try:
                    data = sock.recv(min(self.bytes_per_s // 20, 1 << 16))
                    if not data:
                        return
                    self.read += len(data)
                    for _ in range(data.count(PINGREQ)):
                        self.asked += 1
                        sock.sendall(PINGRESP)
                except OSError:
                    return
                time.sleep(0.05)


class Link:
    """One session at the broker, in a thread."""

    def __init__(self, broker: SlowBroker, leaving: Callable[[], bool], keepalive_s: int) -> None:
        self.connected = threading.Event()
        self.traffic = Speaking()
        self.end: SessionEnd | None = None
        self.left = False
        self._leaving = leaving
        address = BrokerAddress("127.0.0.1", broker.port)
        self._waker = Waker()
        self._session = MqttSession(
            BrokerOptions(address, "tester", keepalive_s=keepalive_s),
            "5",
            self.traffic,
            self._waker,
            lambda: Leave.SILENTLY if self.left or self._leaving() else None,
            RepeatFilter(),
            BrokerTroubles(lambda _: None),
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self.connected.wait(5)

    def close(self) -> None:
        self.left = True
        self._thread.join()
        self._waker.close()

    def _run(self) -> None:
        self.end = self._session.run(self.connected.set)
        self._session.part(lambda: True)


class Speaking(Traffic):
    def __init__(self) -> None:
        self.to_send: list[Message] = []

    def next_message(self, *, confirmable: bool) -> Message | None:
        return self.to_send.pop(0) if self.to_send else None


@pytest.fixture
def slow_broker() -> Iterator[SlowBroker]:
    made = SlowBroker()
    yield made
    made.close()


@contextmanager
def linked(
    broker: SlowBroker, leaving: Callable[[], bool] = lambda: False, keepalive_s: int = KEEPALIVE_S
) -> Iterator[Link]:
    link = Link(broker, leaving, keepalive_s)
    try:
        yield link
    finally:
        link.close()


def test_a_broker_that_answers_is_kept_and_asked_as_often_as_it_wants_to_hear(
    slow_broker: SlowBroker,
) -> None:
    with linked(slow_broker) as link:
        time.sleep(3.5)
        assert link.end is None
    assert slow_broker.asked == 3


def test_a_broker_that_wants_to_hear_of_us_more_often_than_we_meant_to_does(slow_broker: SlowBroker) -> None:
    slow_broker.connack = CONNACK_KEEPALIVE
    with linked(slow_broker, keepalive_s=300) as link:
        time.sleep(3.5)
        assert link.end is None
    assert slow_broker.asked == 3


def test_a_broker_that_would_do_with_less_is_asked_as_often_as_we_meant_to(slow_broker: SlowBroker) -> None:
    slow_broker.connack = CONNACK_KEEPALIVE[:-1] + b"\x09"
    with linked(slow_broker):
        time.sleep(2.5)
    assert slow_broker.asked == 2


@pytest.mark.parametrize("sends", [False, True])
def test_a_broker_that_stands_still_is_given_up(slow_broker: SlowBroker, sends: bool) -> None:
    with linked(slow_broker) as link:
        slow_broker.bytes_per_s = 0
        began_s = time.monotonic()
        while link.end is None and time.monotonic() < began_s + 10:
            if sends:
                link.traffic.to_send.append(Message("t", b"x" * 1000))
            time.sleep(0.05)
        assert time.monotonic() - began_s < 3 * PATIENCE_S
        assert link.end is not None
        assert (link.end.kind, "silent for" in link.end.words) == (EndKind.LOST, True)


def test_what_came_while_the_process_stood_still_is_read_before_the_broker_counts_as_silent(
    slow_broker: SlowBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it had been silent before it was asked, the time that counts of the pause is too long."""
    pauses, answers, ask, asked = [3 * PATIENCE_S], list[int](), SteadyClient.ask, threading.Event()

    def asks(client: SteadyClient) -> None:
        ask(client)
        asked.set()

    def stands_still() -> bool:
        if asked.is_set() and pauses:
            slow_broker.bytes_per_s = 1 << 30  # its answer comes now, and not before
            time.sleep(pauses.pop())
            answers.append(slow_broker.asked)
        return False

    monkeypatch.setattr(SteadyClient, "ask", asks)
    slow_broker.bytes_per_s = 0
    with linked(slow_broker, stands_still) as link:
        until(lambda: answers, "it stands still")
        assert answers == [1], "it was answered meanwhile"
        time.sleep(PATIENCE_S)
        assert link.end is None
        assert slow_broker.asked > 1


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="only Linux tells what the peer has")
def test_an_upload_that_gets_on_is_no_silence(slow_broker: SlowBroker) -> None:
    with linked(slow_broker) as link:
        slow_broker.bytes_per_s = 100 << 10
        link.traffic.to_send.append(Message("t", b"x" * (600 << 10)))
        began_s = time.monotonic()
        until(lambda: slow_broker.read > 600 << 10 or link.end, "it is read")
        assert time.monotonic() - began_s > 2.5 * PATIENCE_S, "it took long"
        slow_broker.bytes_per_s = 1 << 30
        time.sleep(2 * PATIENCE_S)
        assert link.end is None


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="only Linux tells what the peer has")
def test_an_upload_that_stands_still_is_silence(slow_broker: SlowBroker) -> None:
    with linked(slow_broker) as link:
        slow_broker.bytes_per_s = 100 << 10
        link.traffic.to_send.append(Message("t", b"x" * (4 << 20)))
        until(lambda: slow_broker.read > 200 << 10, "some is read")
        slow_broker.bytes_per_s = 0
        began_s = time.monotonic()
        until(lambda: link.end, "it is given up")
        assert PATIENCE_S / 2 < time.monotonic() - began_s < 3 * PATIENCE_S
