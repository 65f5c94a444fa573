"""A broker that is there and does not want us: each cause has a name, and costs few attempts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_app.config.models import MqttSection, TlsSection
from edge_app.publish import echo
from edge_app.publish.broker import BrokerAddress, BrokerOptions
from edge_app.publish.connection import BrokerConnection
from edge_app.publish.traffic import Message, Traffic
from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.certificates import Authority, needs_openssl
from tests.faults.proxy import Proxy

pytestmark = [pytest.mark.broker, needs_mosquitto, pytest.mark.timeout(900)]

logger = logging.getLogger(__name__)

STATUS = "edge/v1/node-1/status"
CANARY = "canary-71c2-secret"


class Speaking(Traffic):
    """Publishes its status after each connect, as a node does."""

    echo_topic = STATUS

    def __init__(self, *topics: str) -> None:
        self._topics = topics or (STATUS,)
        self._to_send: list[Message] = []
        self.confirmed_topics: list[str] = []

    def connected(self) -> None:
        self._to_send = [Message(topic, b"{}", 1, True) for topic in self._topics]

    def next_message(self, *, confirmable: bool) -> Message | None:
        return self._to_send.pop(0) if self._to_send and confirmable else None

    def confirmed(self, message: Message) -> None:
        self.confirmed_topics.append(message.topic)


class Client:
    """A connection with quick steps through a proxy that notes its attempts."""

    def __init__(
        self, broker: Mosquitto, most_s: float, traffic: Traffic | None = None, **more: object
    ) -> None:
        self.proxy = Proxy(broker.port, encrypted=broker.uri.startswith("mqtts"))
        self.most_s = most_s
        self.troubles: list[str | None] = []
        scheme = broker.uri.partition(":")[0]
        options = {"client_id": "node-1", "reconnect_min_s": min(0.5, most_s / 4), **more}
        self.connection = BrokerConnection(
            BrokerOptions(
                BrokerAddress.parse(f"{scheme}://localhost:{self.proxy.port}"),
                reconnect_max_s=most_s,
                **options,  # type: ignore[arg-type]
            ),
            traffic or Traffic(),
            on_trouble=self.troubles.append,
        )
        self.connection.start()

    def close(self) -> None:
        self.connection.stop(0.5)
        self.proxy.close()

    def attempts_since(self, since_s: float) -> int:
        return sum(at_s >= since_s for at_s in self.proxy.attempts_s)


@contextmanager
def closing(*clients: Client) -> Iterator[None]:
    try:
        yield
    finally:
        for client in clients:
            client.close()


@pytest.fixture
def most_s(long_form: bool) -> float:
    """Longest wait between attempts: in the long form the default."""
    return float(MqttSection.model_fields["reconnect_max_s"].default) if long_form else 0.5


def check_damped(*clients: Client) -> None:
    """Fail if a client tries more often than once in its longest wait, once it has come to that."""
    most_s = clients[0].most_s
    ramp_s = 2.5 * most_s
    time.sleep(ramp_s)
    since_s, span_s = time.monotonic(), 4 * most_s
    time.sleep(span_s)
    counts = [client.attempts_since(since_s) for client in clients]
    logger.info("attempts in %.0f s: %s, one in %.0f s is allowed", span_s, counts, most_s)
    assert max(counts) <= span_s / most_s + 1, counts
    assert min(counts) >= 1, counts


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_two_clients_of_one_id_are_damped_and_both_are_told(
    broker: Mosquitto, most_s: float, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    clients = [Client(broker, most_s, protocol=protocol) for _ in range(2)]
    with closing(*clients):
        check_damped(*clients)
        for client in clients:
            until(lambda client=client: client.troubles, "its owner is told", 8 * most_s)  # type: ignore[misc]
            assert "client id 'node-1'" in str(client.troubles[-1])
    assert "[client_id_in_use" in caplog.text


def test_when_the_other_client_has_gone_all_is_well_again(broker: Mosquitto) -> None:
    first, second = Client(broker, 0.3), Client(broker, 0.3)
    first.connection._backoff._lasting_s = 1.0
    with closing(first):
        with closing(second):
            until(lambda: first.troubles, "it is told of the other")
        until(lambda: first.troubles[-1] is None, "it is told that all is well")
        assert first.connection.connected


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_wrong_password(
    tmp_path: Path, most_s: float, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Mosquitto(tmp_path, users={"edge": "the right one"})
    broker.start()
    client = Client(broker, most_s, protocol=protocol, username="edge", password=CANARY)
    with closing(client):
        check_damped(client)
    broker.kill()
    # Mosquitto calls it so with either version.
    assert "[not_authorised]" in caplog.text
    assert CANARY not in caplog.text


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("trusted"))


@pytest.fixture(scope="module")
def expired(authority: Authority) -> Path:
    return authority.sign("expired", days=0)


StartTls = Callable[..., Mosquitto]


@pytest.fixture
def start_tls(tmp_path: Path) -> Iterator[StartTls]:
    brokers: list[Mosquitto] = []

    def start(certificates: Path, *lines: str) -> Mosquitto:
        brokers.append(Mosquitto(tmp_path, tls=certificates, lines=lines))
        brokers[-1].start()
        return brokers[-1]

    yield start
    for broker in brokers:
        broker.kill()


@needs_openssl
class TestCertificates:
    def test_one_that_has_expired(
        self,
        start_tls: StartTls,
        authority: Authority,
        expired: Path,
        most_s: float,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        client = Client(start_tls(expired), most_s, tls=TlsSection(ca_file=authority.ca_file))
        with closing(client):
            check_damped(client)
        assert "certificate has expired; the broker needs a new one" in caplog.text
        assert "[certificate_expired]" in caplog.text

    def test_one_of_an_unknown_authority(
        self,
        start_tls: StartTls,
        authority: Authority,
        most_s: float,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        other = Authority(tmp_path / "other").sign("server")
        client = Client(start_tls(other), most_s, tls=TlsSection(ca_file=authority.ca_file))
        with closing(client):
            check_damped(client)
        assert "[certificate_not_trusted]" in caplog.text

    @pytest.mark.parametrize(("which", "said"), [("expired", "certificate expired"), ("none", "required")])
    def test_ours_in_the_eyes_of_the_broker(
        self,
        start_tls: StartTls,
        authority: Authority,
        expired: Path,
        which: str,
        said: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        broker = start_tls(authority.sign(f"for {which}"), "require_certificate true")
        cert, key = (str(expired / "server.pem"), str(expired / "server.key"))
        if which == "none":
            tls = TlsSection(ca_file=authority.ca_file)
        else:
            tls = TlsSection(ca_file=authority.ca_file, cert_file=cert, key_file=key)
        client = Client(broker, 0.5, tls=tls)
        with closing(client):
            until(lambda: client.attempts_since(0.0) >= 3, "three attempts")
        assert "the broker refused our TLS certificate" in caplog.text
        assert said in caplog.text
        assert "[our_certificate_refused]" in caplog.text
        assert "trying MQTT 3.1.1" not in caplog.text


class TestAccessControl:
    @pytest.fixture
    def restricted(self, tmp_path: Path) -> Iterator[Mosquitto]:
        (tmp_path / "acl").write_text(f"topic readwrite {STATUS}\ntopic read edge/#\n")
        broker = Mosquitto(tmp_path, lines=(f"acl_file {tmp_path}/acl",))
        broker.start()
        yield broker
        broker.kill()

    def test_a_refused_topic_is_named_and_the_connection_stays(
        self, restricted: Mosquitto, caplog: pytest.LogCaptureFixture
    ) -> None:
        traffic = Speaking(STATUS, "edge/v1/node-1/info", "edge/v1/node-1/camera/a/status")
        client = Client(restricted, 1.0, traffic, protocol="5")
        with closing(client):
            until(lambda: len(client.troubles) == 2, "its owner is told")
            assert client.troubles[-1] == (
                "the broker refuses topic edge/v1/node-1/info and 1 more: not authorized"
            )
            time.sleep(1.0)
            assert client.proxy.connections == 1
        assert traffic.confirmed_topics == [STATUS]
        assert "the broker refuses topic edge/v1/node-1/info: not authorized" in caplog.text

    def test_a_topic_that_is_taken_at_last(self, restricted: Mosquitto, tmp_path: Path) -> None:
        client = Client(restricted, 1.0, Speaking("edge/v1/node-1/info"), protocol="5")
        with closing(client):
            until(lambda: client.troubles, "its owner is told")
            (tmp_path / "acl").write_text("topic readwrite #\n")
            restricted.end()
            restricted.start()
            until(lambda: client.troubles[-1] is None, "it is told that all is well")

    @pytest.mark.parametrize("allowed", [True, False])
    def test_3_1_1_says_nothing_and_the_missing_echo_is_told(
        self,
        restricted: Mosquitto,
        tmp_path: Path,
        allowed: bool,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(echo, "ECHO_S", 0.5)
        if not allowed:
            (tmp_path / "acl").write_text("topic read edge/#\n")
            restricted.end()
            restricted.start()
        traffic = Speaking()
        client = Client(restricted, 1.0, traffic, protocol="3.1.1")
        with closing(client):
            until(lambda: traffic.confirmed_topics, "the broker claims to have it")
            time.sleep(1.2)
            assert client.connection.connected
        assert ("[not_confirmed]" in caplog.text) is not allowed

    def test_a_broker_that_refuses_the_connection_itself(
        self, tmp_path: Path, most_s: float, caplog: pytest.LogCaptureFixture
    ) -> None:
        broker = Mosquitto(tmp_path, users={"somebody": "else"})
        broker.start()
        client = Client(broker, most_s)  # anonymous
        with closing(client):
            check_damped(client)
        broker.kill()
        assert "[not_authorised]" in caplog.text
