"""MQTT over WebSockets: a real Mosquitto, and servers that do what is allowed and what is not."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_app.config.models import DeliverySection, OutboxSection, TlsSection
from edge_app.messages import DropReason, NodeState
from edge_app.publish.broker import BrokerAddress, BrokerOptions
from edge_app.publish.connection import BrokerConnection
from edge_app.publish.traffic import Message, Received, Traffic
from edge_app.publish.websocket import WebSocket, WebSocketRefusedError
from tests.brokers import Mosquitto, free_port, needs_mosquitto, needs_websockets, until
from tests.certificates import Authority, needs_openssl
from tests.publish.parts import BASE, Neighbours, Parts, detections

DETECTIONS = f"{BASE}/camera/gate/detections"


class WebSocketBroker:
    """A Mosquitto that listens for TCP, and for WebSockets at a second port (one alone 2.0.11 refuses)."""

    def __init__(self, folder: Path, tls: Path | None = None) -> None:
        self.port = free_port()
        lines = [f"listener {self.port} 127.0.0.1", "protocol websockets", "socket_domain ipv4"]
        self.broker = Mosquitto(folder, tls=tls, lines=lines)
        scheme = "ws" if tls is None else "wss"
        self.uri = f"{scheme}://localhost:{self.port}/mqtt"
        self.tcp_uri = f"mqtt://127.0.0.1:{self.broker.port}"

    def start(self) -> None:
        """Start it, and wait until it listens at both ports."""
        self.broker.start()
        until(self._listens, "the broker listens for WebSockets")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Relay:
    """Passes bytes on to a port of this machine, until it is cut."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._socks: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection."""
        socks, self._socks = self._socks, []
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def close(self) -> None:
        """End it, and every connection."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target_port))
                self._socks += (near, far)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                target.sendall(chunk)
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[WebSocketBroker]:
    made = WebSocketBroker(tmp_path)
    made.start()
    yield made
    made.broker.kill()


@needs_mosquitto
@needs_websockets
@pytest.mark.broker
class TestMosquitto:
    @pytest.mark.parametrize("protocol", ["5", "3.1.1"])
    def test_messages_of_all_sizes_arrive_in_order(
        self, broker: WebSocketBroker, parts: Parts, protocol: str
    ) -> None:
        neighbours = Neighbours()
        publisher = parts.publisher(broker.uri, neighbours, protocol=protocol)
        # Over TCP: Mosquitto 2.0 takes a second for each large message to a WebSocket, whoever reads there.
        recorder = parts.recorder(broker.tcp_uri)
        publisher.set_node_state(NodeState.ONLINE)
        publisher.start()
        until(lambda: publisher.is_connected and recorder.states(), "both are connected")
        for frame_id in range(300):  # 0 to 1990 objects: frames of all three forms of length
            publisher.put(detections(frame_id, count=0 if frame_id % 100 else frame_id * 10), wait=True)
        until(lambda: len(recorder.on(DETECTIONS)) == 300, "300 messages")
        assert [message["seq"] for message in recorder.on(DETECTIONS)] == list(range(300))
        assert publisher.stop(2.0)
        until(lambda: recorder.states()[-1] == "stopping", "a deliberate end, and no will")
        assert neighbours.drops == {}

    def test_a_broker_that_stands_still_gets_every_byte_afterwards(
        self, broker: WebSocketBroker, parts: Parts
    ) -> None:
        neighbours = Neighbours()
        publisher = parts.publisher(broker.uri, neighbours, queue_size=20)
        recorder = parts.recorder(broker.tcp_uri)
        publisher.set_node_state(NodeState.ONLINE)
        publisher.start()
        until(lambda: publisher.is_connected and recorder.states(), "both are connected")
        broker.broker.freeze()
        try:
            for frame_id in range(300):  # far more than the sockets hold
                publisher.put(detections(frame_id, count=500), wait=True)
            assert neighbours.drops[DropReason.PUBLISH_QUEUE_FULL] > 0
        finally:
            broker.broker.thaw()
        until(lambda: len(recorder.on(DETECTIONS)) + neighbours.drops.total() == 300, "all accounted for")
        messages = recorder.on(DETECTIONS)
        assert [message["seq"] for message in messages] == list(range(len(messages)))
        assert messages[-1]["frame_id"] == 299
        assert publisher.reconnects == 0

    def test_what_is_durable_comes_through_cuts(
        self, broker: WebSocketBroker, parts: Parts, tmp_path: Path
    ) -> None:
        neighbours, relay = Neighbours(), Relay(broker.port)
        recorder = parts.recorder(broker.tcp_uri)
        publisher = parts.publisher(
            f"ws://127.0.0.1:{relay.port}",
            neighbours,
            delivery=DeliverySection(detections="durable"),
            outbox=OutboxSection(directory=str(tmp_path / "outbox")),
        )
        publisher.set_node_state(NodeState.ONLINE)
        publisher.start()
        until(lambda: publisher.is_connected and recorder.states(), "both are connected")
        for frame_id in range(400):
            publisher.put(detections(frame_id), wait=True)
            if frame_id % 100 == 50:
                relay.cut()
                until(lambda count=frame_id // 100: publisher.reconnects > count, "again")  # type: ignore[misc]
        until(lambda: publisher.outbox is not None and publisher.outbox.messages == 0, "all are confirmed")
        until(lambda: recorder.on(DETECTIONS)[-1]["seq"] == 399, "the last one")
        numbers = [message["seq"] for message in recorder.on(DETECTIONS)]
        assert list(dict.fromkeys(numbers)) == list(range(400)), "all, first seen in order"
        assert len(numbers) <= 400 + 16 * 4
        assert neighbours.drops == {}
        relay.close()

    def test_the_will_is_published(self, broker: WebSocketBroker, parts: Parts) -> None:
        relay = Relay(broker.port)
        publisher = parts.publisher(f"ws://127.0.0.1:{relay.port}", Neighbours())
        recorder = parts.recorder(broker.tcp_uri)
        publisher.set_node_state(NodeState.ONLINE)
        publisher.start()
        until(lambda: recorder.states() == ["online"], "online")
        relay.close()
        until(lambda: recorder.states()[-1] == "lost", "the will")

    @pytest.mark.parametrize("protocol", ["5", "3.1.1"])
    def test_a_subscriber(self, broker: WebSocketBroker, parts: Parts, protocol: str) -> None:
        publisher = parts.publisher(broker.tcp_uri, Neighbours())
        recorder = parts.recorder(broker.uri, protocol=protocol)
        publisher.set_node_state(NodeState.ONLINE)
        publisher.start()
        until(lambda: publisher.is_connected and recorder.states(), "both are connected")
        for frame_id in range(500):
            publisher.put(detections(frame_id), wait=True)
        until(lambda: len(recorder.on(DETECTIONS)) == 500, "500 messages")

    @needs_openssl
    def test_encrypted(self, tmp_path: Path, parts: Parts) -> None:
        authority = Authority(tmp_path / "tls")
        made = WebSocketBroker(tmp_path, tls=authority.sign("server"))
        made.start()
        tls = TlsSection(ca_file=authority.ca_file)
        try:
            publisher = parts.publisher(made.uri, Neighbours(), tls=tls)
            recorder, reader = parts.recorder(made.tcp_uri), parts.recorder(made.uri, tls=tls)
            publisher.set_node_state(NodeState.ONLINE)
            publisher.start()
            until(lambda: publisher.is_connected and recorder.states() and reader.states(), "connected")
            for frame_id in range(100):  # a message is up to twelve TLS records
                publisher.put(detections(frame_id, count=1500 if frame_id % 10 == 0 else 2), wait=True)
            until(lambda: len(recorder.on(DETECTIONS)) == 100, "100 messages")
            until(lambda: reader.on(DETECTIONS), "some are read over the WebSocket too")
            stranger = parts.publisher(made.uri, Neighbours())
            stranger.start()
            until(lambda: "certificate is not trusted" in (stranger.problem or ""), "the stranger is told")
        finally:
            made.broker.kill()


def accept_of(request: bytes) -> bytes:
    key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest)


def upgraded(request: bytes) -> bytes:
    """Answer a handshake as RFC 6455 says, in capital letters of its own."""
    head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nCONNECTION: keep-alive, Upgrade\r\n"
    return head + b"sec-websocket-accept:" + accept_of(request) + b"\r\n\r\n"


@contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one connection by `talk`; yields the URI."""
    listener = socket.create_server(("127.0.0.1", 0))
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        with peer:
            peer.settimeout(10)
            try:
                talk(peer)
            except (AssertionError, OSError, pytest.fail.Exception) as error:
                failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/mqtt"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
    assert failures == []


def request_of(peer: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        request += peer.recv(4096)
    return request


def exactly(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = peer.recv(size - len(data))
        assert chunk, "it hung up"
        data += chunk
    return data


def frame_of(peer: socket.socket) -> tuple[int, bytes]:
    """Read a client's frame; fail unless it is final and masked."""
    first, second = exactly(peer, 2)
    assert first & 0x80
    assert second & 0x80, "a client masks"
    length = second & 0x7F
    if length > 125:
        length = int.from_bytes(exactly(peer, 2 if length == 126 else 8), "big")
    mask, data = exactly(peer, 4), exactly(peer, length)
    return first & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


def frame(opcode: int, data: bytes, *, final: bool = True) -> bytes:
    length = struct.pack("!B", len(data)) if len(data) < 126 else struct.pack("!BH", 126, len(data))
    return bytes([opcode | 0x80 * final]) + length + data


def sent(web_socket: WebSocket, data: bytes) -> int:
    """Go on sending data; return how much of it is out, all or nothing."""
    try:
        return web_socket.send(data)
    except BlockingIOError:
        return 0


CONNACK = bytes([0x20, 3, 0, 0, 0])


def publish_packet(number: int) -> bytes:
    body = b"\x00\x01a\x00" + b"%03d" % number  # topic, no properties, payload
    return bytes([0x30, len(body)]) + body


class Listening(Traffic):
    subscriptions = ("a",)

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def received(self, message: Received) -> None:
        self.payloads.append(message.payload)


@contextmanager
def listening(uri: str, traffic: Traffic) -> Iterator[BrokerConnection]:
    options = BrokerOptions(BrokerAddress.parse(uri), "tester", protocol="5", reconnect_min_s=5)
    connection = BrokerConnection(options, traffic)
    connection.start()
    try:
        yield connection
    finally:
        assert connection.stop(0.5), "the thread ended"


class TestFrames:
    def converse(self, answer: Callable[[socket.socket], None], count: int) -> list[bytes]:
        """Return the payloads of `count` messages that came from a server, which then waits for the end."""

        def talk(peer: socket.socket) -> None:
            peer.sendall(upgraded(request_of(peer)))
            assert frame_of(peer)[1][0] == 0x10, "CONNECT"
            answer(peer)
            frame_of(peer)
            while peer.recv(4096):
                pass

        traffic = Listening()
        with server(talk) as uri, listening(uri, traffic):
            until(lambda: len(traffic.payloads) >= count, f"{count} messages", 5.0)
        return traffic.payloads

    @pytest.mark.parametrize("size", [1, 7, 100_000])
    def test_packets_come_cut_and_joined_in_any_way(self, size: int) -> None:
        packets = CONNACK + b"".join(map(publish_packet, range(200)))
        pieces = [packets[:3], packets[3:40], packets[40:41], packets[41:1700], packets[1700:]]
        frames = [frame(2, pieces[0], final=False), frame(9, b"life?"), frame(0, pieces[1], final=False)]
        frames += [frame(0, b""), frame(0x0A, b"unasked"), *(frame(2, piece) for piece in pieces[2:])]
        stream = b"".join(frames)

        def answer(peer: socket.socket) -> None:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(stream), size):
                peer.sendall(stream[start : start + size])

        assert self.converse(answer, 200) == [b"%03d" % number for number in range(200)]

    def test_what_comes_with_the_handshake_is_not_lost(self) -> None:
        packets = CONNACK + publish_packet(1)

        def talk(peer: socket.socket) -> None:
            peer.sendall(upgraded(request_of(peer)) + frame(2, packets[:4]))
            frame_of(peer)
            peer.sendall(frame(2, packets[4:]))
            while peer.recv(4096):
                pass

        traffic = Listening()
        with server(talk) as uri, listening(uri, traffic):
            until(lambda: traffic.payloads, "the message", 5.0)

    def test_a_ping_is_answered_between_frames(self) -> None:
        frames: list[tuple[int, bytes]] = []
        large = Message("a", bytes(8_000_000))
        to_send = [large]

        class Sending(Traffic):
            def next_message(self, *, confirmable: bool) -> Message | None:
                return to_send.pop() if to_send else None

        def talk(peer: socket.socket) -> None:
            peer.sendall(upgraded(request_of(peer)))
            frame_of(peer)
            peer.sendall(frame(2, CONNACK))
            until(lambda: not to_send, "the message is on its way")
            peer.sendall(frame(9, b"life?"))
            frames.extend((frame_of(peer), frame_of(peer)))

        with server(talk) as uri, listening(uri, Sending()):
            until(lambda: len(frames) == 2, "message and answer", 20.0)
        assert frames[0][0] == 2
        assert frames[0][1].endswith(large.payload)
        assert frames[1] == (10, b"life?")

    def test_of_many_pings_that_cannot_be_answered_at_once_the_newest_alone_is(self) -> None:
        near, far = socket.socketpair()
        frames: list[tuple[int, bytes]] = []

        def read() -> None:
            frames.extend((frame_of(far), frame_of(far), frame_of(far)))

        with far:
            shaking = threading.Thread(target=lambda: far.sendall(upgraded(request_of(far))))
            shaking.start()
            web_socket = WebSocket(near, "broker", "/mqtt", 5.0)
            shaking.join()
            web_socket.setblocking(False)
            large = bytes(1_000_000)
            with pytest.raises(BlockingIOError):
                web_socket.send(large)  # nobody reads
            for start in range(0, 20_000, 1000):
                far.sendall(b"".join(frame(9, b"%d" % number) for number in range(start, start + 1000)))
                with pytest.raises(BlockingIOError):
                    web_socket.recv(1000)  # what came is no data
            reading = threading.Thread(target=read)
            reading.start()
            for data in (large, b"next"):
                until(lambda data=data: sent(web_socket, data) == len(data), "it is sent")  # type: ignore[misc]
            reading.join(10)
            web_socket.close()
        assert [(opcode, len(body)) for opcode, body in frames] == [(2, len(large)), (10, 5), (2, 4)]
        assert frames[1] == (10, b"19999")

    def test_a_deliberate_end_closes_the_web_socket_too(self) -> None:
        frames: list[tuple[int, bytes]] = []

        def talk(peer: socket.socket) -> None:
            peer.sendall(upgraded(request_of(peer)))
            frame_of(peer)
            peer.sendall(frame(2, CONNACK))
            frames.extend((frame_of(peer), frame_of(peer)))

        with server(talk) as uri, listening(uri, Traffic()) as connection:
            until(lambda: connection.connected, "connected")
        assert frames == [(2, bytes([0xE0, 0])), (8, struct.pack("!H", 1000))]

    @pytest.mark.parametrize(
        "broken",
        [
            frame(1, b"text"),
            frame(0x42, CONNACK),
            b"\x82\x85\0\0\0\0" + CONNACK,
            frame(9, b"too long" * 20),
            frame(9, b"cut", final=False),
            frame(8, struct.pack("!H", 1001)),
        ],
        ids=["text", "reserved bit", "masked", "long ping", "cut ping", "close"],
    )
    def test_a_server_that_breaks_the_rules_or_closes_is_left(self, broken: bytes) -> None:
        def talk(peer: socket.socket) -> None:
            peer.sendall(upgraded(request_of(peer)))
            frame_of(peer)
            peer.sendall(broken)
            while peer.recv(4096):
                pass

        with server(talk) as uri, listening(uri, Traffic()) as connection:
            until(lambda: connection.problem, "the end is noticed", 5.0)


class TestHandshake:
    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (
                lambda _: b"HTTP/1.1 404 Not Found\r\n\r\n",
                "HTTP 404; check the path and the port of mqtt.uri",
            ),
            (lambda _: b"\x20\x02\x00\x00\r\n\r\n", "not HTTP"),
            (lambda _: b"", "it hung up"),
            (lambda _: b"x" * 20_000, "does not end"),
            (lambda request: upgraded(request).replace(b"accept:", b"accept:x"), "another question"),
            (lambda request: upgraded(request).replace(b"WebSocket", b"h2c"), "no WebSocket"),
            (
                lambda request: upgraded(request).replace(
                    b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: amqp\r\n\r\n"
                ),
                "another protocol",
            ),
        ],
    )
    def test_another_answer_is_named(self, answer: Callable[[bytes], bytes], words: str) -> None:
        def talk(peer: socket.socket) -> None:
            peer.sendall(answer(request_of(peer)))

        with server(talk) as uri, listening(uri, Traffic()) as connection:
            until(lambda: connection.problem, "the problem is told")
            assert words in (connection.problem or "")
            assert "no WebSocket at 127.0.0.1:" in (connection.problem or "")

    def test_the_request_is_what_brokers_want(self) -> None:
        requests: list[bytes] = []

        def talk(peer: socket.socket) -> None:
            requests.append(request_of(peer))

        with server(talk) as uri, listening(f"{uri}/deep%20er", Traffic()) as connection:
            until(lambda: connection.problem, "the end")
        lines = requests[0].decode().split("\r\n")
        assert lines[0] == "GET /mqtt/deep%20er HTTP/1.1"
        assert lines[1] == f"Host: {uri.split('/')[2]}"
        assert "Sec-WebSocket-Protocol: mqtt" in lines

    def test_a_server_that_drips_is_given_up(self) -> None:
        ours, theirs = socket.socketpair()
        ended = threading.Event()

        def drip() -> None:
            for _ in range(100):
                try:
                    theirs.send(b"H")
                except OSError:
                    return
                if ended.wait(0.02):
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(TimeoutError):
            WebSocket(ours, "host", "/", 0.3)
        assert ours.fileno() == -1, "closed"
        ended.set()
        thread.join()
        theirs.close()

    def test_a_connection_that_fails_is_closed(self) -> None:
        ours, theirs = socket.socketpair()
        theirs.close()
        with pytest.raises((WebSocketRefusedError, BrokenPipeError, ConnectionResetError)):
            WebSocket(ours, "host", "/", 0.3)
        assert ours.fileno() == -1
