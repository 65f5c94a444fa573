"""The connection: versions of MQTT, TLS, refusals in words, and callers that fail."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_app.config.models import TlsSection
from edge_app.errors import ConfigError
from edge_app.messages import NodeState
from edge_app.publish.broker import BrokerAddress, BrokerOptions
from edge_app.publish.connection import BrokerConnection, VersionChoice
from edge_app.publish.mqtt import session
from edge_app.publish.refusal import EndKind, SessionEnd, lost
from edge_app.publish.traffic import Message, Received, Traffic
from tests.brokers import Amqtt, Mosquitto, free_port, needs_amqtt, needs_mosquitto, until
from tests.certificates import Authority, needs_openssl
from tests.publish.parts import BASE, Neighbours, Parts, detections


@contextmanager
def running(options: BrokerOptions, traffic: Traffic | None = None) -> Iterator[BrokerConnection]:
    connection = BrokerConnection(options, traffic or Traffic())
    connection.start()
    try:
        yield connection
    finally:
        assert connection.stop(0.5), "the thread ended"


def options_for(uri: str, **more: Any) -> BrokerOptions:
    return BrokerOptions(
        BrokerAddress.parse(uri), "tester", reconnect_min_s=0.05, reconnect_max_s=0.1, **more
    )


class OldBroker:
    """Accepts connections and answers each CONNECT with the same bytes, as brokers of long ago did."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}"
        self.versions: list[int] = []
        """Protocol levels that were asked for: 5 is MQTT 5, 4 is 3.1.1."""

    def serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                connect = peer.recv(1024)
                name_at = connect.find(b"MQTT")
                if name_at >= 0:
                    self.versions.append(connect[name_at + 4])
                if self._answer:
                    peer.sendall(self._answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def old_broker(answer: bytes) -> Iterator[OldBroker]:
    broker = OldBroker(answer)
    thread = threading.Thread(target=broker.serve)
    thread.start()
    try:
        yield broker
    finally:
        broker.close()
        thread.join()


class RedirectedTwice(BrokerConnection):
    """Is redirected again, by another thread, in the moment in which it looks whether it was redirected."""

    def __init__(self, options: BrokerOptions, again: BrokerOptions) -> None:
        super().__init__(options, Traffic())
        self._again = threading.Thread(target=self.redirect, args=(again,))

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name == "_redirected" and value is not None and self._again.ident is None:
            self._again.start()
            self._again.join(0.3)
        return value


def test_no_redirect_is_lost() -> None:
    with old_broker(b"") as first, old_broker(b"") as second, old_broker(b"") as third:
        connection = RedirectedTwice(options_for(first.uri), options_for(third.uri))
        connection.redirect(options_for(second.uri))
        connection.start()
        try:
            until(lambda: third.versions, "the last one is connected to")
        finally:
            assert connection.stop(0.5)


class SlowReader:
    """A broker that answers CONNECT at once, and reads the first connection only as far as it is told to."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)  # the peer is told to wait
        self.uri = f"mqtt://127.0.0.1:{self._server.getsockname()[1]}"
        self.reads = threading.Event()
        self.saw: list[str] = []
        """What came, in its order."""
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def close(self) -> None:
        self.reads.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        for name in ("first", "second"):
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._talk, args=(sock, name)))
            self._threads[-1].start()

    def _talk(self, sock: socket.socket, name: str) -> None:
        with sock:
            sock.recv(4096)
            self.saw.append(f"{name} connects")
            sock.sendall(bytes([0x20, 3, 0, 0, 0]))
            if name == "first":
                self.reads.wait()
            try:
                while sock.recv(1 << 16):
                    pass
                self.saw.append(f"{name} ends")
            except ConnectionResetError:
                self.saw.append(f"{name} is reset")


class Uploading(Traffic):
    """Has sent more than the broker reads."""

    def __init__(self) -> None:
        self.to_send = [Message("t", bytes(200 << 10))]
        self.sent = self.ended = False

    def next_message(self, *, confirmable: bool) -> Message | None:
        self.sent = not self.to_send
        return self.to_send.pop() if self.to_send else None

    def disconnected(self) -> None:
        self.ended = True


class TestLeavingSilently:
    """The will, behind an upload, must not come after what the next connection says to the same broker."""

    @pytest.fixture
    def broker(self) -> Iterator[SlowReader]:
        made = SlowReader()
        yield made
        made.close()

    @contextmanager
    def left(self, broker: SlowReader, uri: str | None = None) -> Iterator[BrokerConnection]:
        traffic = Uploading()
        with running(options_for(broker.uri), traffic) as connection:
            until(lambda: traffic.sent, "it is in the socket")
            connection.redirect(replace(options_for(uri or broker.uri), client_id="another"))
            until(lambda: traffic.ended, "the traffic does not wait with it")
            assert not connection.connected
            yield connection

    def test_the_next_connection_waits_for_the_end_of_the_one_before(self, broker: SlowReader) -> None:
        with self.left(broker):
            time.sleep(0.5)
            broker.reads.set()
            until(lambda: len(broker.saw) == 3, "it is back")
            assert broker.saw == ["first connects", "first ends", "second connects"]

    def test_a_broker_that_stands_still_hears_no_more(
        self, broker: SlowReader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(session, "LEAST_PATIENCE_MS", 300)
        with self.left(broker):
            until(lambda: "second connects" in broker.saw, "it is back")
            broker.reads.set()
            until(lambda: len(broker.saw) == 3, "the first one's end")
            assert broker.saw[2] == "first is reset"

    def test_another_broker_is_connected_to_at_once(self, broker: SlowReader) -> None:
        other = SlowReader()
        other.reads.set()
        began_s = time.monotonic()
        with self.left(broker, other.uri):
            until(lambda: other.saw == ["first connects"], "it is there")
        assert time.monotonic() - began_s < 4
        other.close()

    def test_a_stop_does_not_wait(self, broker: SlowReader) -> None:
        with self.left(broker) as connection:
            began_s = time.monotonic()
            assert connection.stop(0.5)
            assert time.monotonic() - began_s < 1
            broker.reads.set()
            until(lambda: len(broker.saw) == 2, "the first one's end")
            assert broker.saw[1] == "first is reset"


class TestVersions:
    def test_a_broker_that_refuses_version_5_is_asked_for_3_1_1_at_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        refusal = bytes([0x20, 2, 0, 1])  # CONNACK, "unacceptable protocol version"
        with old_broker(refusal) as broker, running(options_for(broker.uri)):
            until(lambda: broker.versions[:2] == [5, 4], "5, then 3.1.1")
        assert "does not speak this version of MQTT; trying MQTT 3.1.1" in caplog.text

    def test_a_broker_that_hangs_up_is_asked_for_either_version_by_turns(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with old_broker(b"") as broker, running(options_for(broker.uri)):
            until(lambda: broker.versions[:5] == [5, 5, 4, 4, 5], "5 twice, 3.1.1 twice, 5")
        assert "hung up without an answer; trying MQTT 3.1.1" in caplog.text

    def test_a_configured_version_is_kept(self) -> None:
        with old_broker(b"") as broker, running(options_for(broker.uri, protocol="5")):
            until(lambda: len(broker.versions) >= 4, "four attempts")
            assert set(broker.versions) == {5}

    def test_silence_is_reason_enough_to_try_the_other_version(self) -> None:
        choice = VersionChoice("auto")
        assert not choice.learn(SessionEnd(EndKind.UNREACHABLE, ""))
        assert choice.learn(SessionEnd(EndKind.NO_ANSWER, ""))
        assert choice.version == "3.1.1"

    def test_a_version_that_has_worked_is_given_up_late(self) -> None:
        choice, silence = VersionChoice("auto"), SessionEnd(EndKind.NO_ANSWER, "")
        choice.learn(SessionEnd(EndKind.LOST, ""))
        assert [choice.learn(silence) for _ in range(6)] == [False] * 5 + [True]

    def test_between_failures_a_working_connection_clears_the_count(self) -> None:
        choice = VersionChoice("auto")
        hang_up, worked = SessionEnd(EndKind.CLOSED_EARLY, ""), SessionEnd(EndKind.LOST, "")
        assert not any(choice.learn(end) for end in [hang_up, worked] * 10)
        assert choice.version == "5"

    @pytest.mark.broker
    @needs_amqtt
    def test_the_whole_contract_holds_on_a_broker_of_3_1_1_only(self, parts: Parts) -> None:
        broker, neighbours = Amqtt(), Neighbours()
        broker.start()
        try:
            recorder = parts.recorder(broker.uri, protocol="3.1.1")
            publisher = parts.publisher(broker.uri, neighbours)
            publisher.set_node_state(NodeState.ONLINE)
            publisher.start()
            until(lambda: publisher.is_connected and recorder.states(), "connected, by 3.1.1 in the end", 30)
            for frame_id in range(20):
                publisher.put(detections(frame_id), wait=True)
            topic = f"{BASE}/camera/gate/detections"
            until(lambda: len(recorder.on(topic)) == 20, "twenty messages")
            assert publisher.stop()
            until(lambda: recorder.states()[-1] == "stopping", "the final state")
        finally:
            parts.stop()
            broker.kill()


class TestWords:
    def test_a_name_that_does_not_exist(self) -> None:
        with running(options_for("mqtt://no-such-host.invalid")) as connection:
            until(lambda: connection.problem, "the problem is told", 60)
            assert "'no-such-host.invalid' cannot be found (DNS)" in (connection.problem or "")

    def test_a_port_where_nobody_listens(self) -> None:
        port = free_port()
        with running(options_for(f"mqtt://127.0.0.1:{port}")) as connection:
            until(lambda: connection.problem, "the problem is told")
            assert f"nothing listens at 127.0.0.1:{port}" in (connection.problem or "")

    def test_a_port_that_is_not_one_of_tls(self) -> None:
        with old_broker(b"HTTP/1.1 400 Bad Request\r\n\r\n") as broker:
            uri = broker.uri.replace("mqtt:", "mqtts:")
            with running(options_for(uri)) as connection:
                until(lambda: connection.problem, "the problem is told")
                assert "TLS port?" in (connection.problem or "")

    def test_an_answer_that_is_not_mqtt(self) -> None:
        with old_broker(b"HTTP/1.1 400 Bad Request\r\n\r\n") as broker:
            with running(options_for(broker.uri)) as connection:
                until(lambda: connection.problem, "the problem is told")
            assert len(broker.versions) >= 1

    def test_refusals_of_3_1_1_have_words_too(self) -> None:
        with (
            old_broker(bytes([0x20, 2, 0, 4])) as broker,
            running(options_for(broker.uri, protocol="3.1.1")) as connection,
        ):
            until(lambda: connection.problem, "the problem is told")
            assert "bad user name or password" in (connection.problem or "")

    def test_a_broker_that_says_why_it_ends_a_connection(self) -> None:
        assert "same client id" in lost(142, from_broker=True).words
        assert "no longer answers" in lost(141, from_broker=False).words
        assert "reason code 200" in lost(200, from_broker=True).words


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Authority(tmp_path_factory.mktemp("tls")).sign("server")


@needs_openssl
@needs_mosquitto
@pytest.mark.broker
class TestTls:
    @pytest.fixture
    def broker(self, tmp_path: Path, certificates: Path) -> Iterator[Mosquitto]:
        broker = Mosquitto(tmp_path, tls=certificates)
        broker.start()
        yield broker
        broker.kill()

    def test_a_trusted_certificate(self, broker: Mosquitto, certificates: Path) -> None:
        tls = TlsSection(ca_file=str(certificates / "ca.pem"))
        with running(options_for(broker.uri, tls=tls)) as connection:
            until(lambda: connection.connected, "connected")

    def test_an_untrusted_certificate(self, broker: Mosquitto) -> None:
        with running(options_for(broker.uri)) as connection:
            until(lambda: connection.problem, "the problem is told")
            assert "certificate is not trusted" in (connection.problem or "")
            assert "ca_file" in (connection.problem or "")

    def test_a_certificate_of_another_name(self, broker: Mosquitto, certificates: Path) -> None:
        tls = TlsSection(ca_file=str(certificates / "ca.pem"))
        uri = broker.uri.replace("localhost", "127.0.0.1")
        with running(options_for(uri, tls=tls)) as connection:
            until(lambda: connection.problem, "the problem is told")
            assert "127.0.0.1" in (connection.problem or "")

    def test_any_certificate_if_told_so(self, broker: Mosquitto) -> None:
        with running(options_for(broker.uri, tls=TlsSection(insecure=True))) as connection:
            until(lambda: connection.connected, "connected")

    def test_missing_files_are_an_error_of_the_configuration(self) -> None:
        options = options_for("mqtts://localhost", tls=TlsSection(ca_file="/no/such/ca.pem"))
        with pytest.raises(ConfigError, match="cannot be used: No such file"):
            BrokerConnection(options, Traffic())


@needs_mosquitto
@pytest.mark.broker
class TestTraffic:
    def test_a_failing_receiver_is_logged_and_the_connection_goes_on(
        self, mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Stumbling(Traffic):
            subscriptions = ("a", "b")

            def __init__(self) -> None:
                self.topics: list[str] = []
                self.to_send = [Message("a", b"{}"), Message("b", b"{}")]

            def next_message(self, *, confirmable: bool) -> Message | None:
                return self.to_send.pop(0) if self.to_send else None

            def received(self, message: Received) -> None:
                self.topics.append(message.topic)
                raise RuntimeError("stumbled")

        mosquitto.start()
        traffic = Stumbling()
        with running(options_for(mosquitto.uri), traffic) as connection:
            until(
                lambda: len(traffic.topics) == 2, "both messages, the second after the first one's exception"
            )
            assert connection.connected
            assert connection.reconnects == 0
        assert caplog.text.count("a received message was not handled") == 1
        assert "stumbled" in caplog.text

    def test_live_detections_expire(self, mosquitto: Mosquitto, parts: Parts) -> None:
        from paho.mqtt.client import Client, MQTTMessage, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        mosquitto.start()
        seen: list[MQTTMessage] = []
        subscriber = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        subscriber.on_message = lambda _client, _userdata, message: seen.append(message)
        subscriber.on_connect = lambda client, *_: client.subscribe("#")
        subscriber.connect("127.0.0.1", mosquitto.port)
        subscriber.loop_start()
        try:
            publisher = parts.publisher(mosquitto.uri, Neighbours(), detections_expiry_s=7)
            publisher.set_node_state(NodeState.ONLINE)
            publisher.start()
            until(lambda: any(message.topic == f"{BASE}/status" for message in seen), "the status")
            publisher.put(detections(), wait=False)
            until(lambda: any("detections" in message.topic for message in seen), "detections")
        finally:
            subscriber.disconnect()
            subscriber.loop_stop()
        by_topic = {message.topic: message.properties for message in seen}
        live, kept = (vars(by_topic[f"{BASE}/{leaf}"]) for leaf in ("camera/gate/detections", "status"))
        assert live["MessageExpiryInterval"] == 7
        assert live["ContentType"] == "application/json"
        assert live["PayloadFormatIndicator"] == 1
        assert "MessageExpiryInterval" not in kept

    def test_an_open_password_over_the_network_is_warned_of(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING)
        with running(options_for("mqtt://no-such-host.invalid", username="u", password="canary-1")):
            assert "unencrypted" in caplog.text
            assert "canary-1" not in caplog.text
