"""Addresses, secrets and patience."""

from __future__ import annotations

import pytest

from edge_app.config.models import MqttSection
from edge_app.errors import ConfigError
from edge_app.publish.broker import Backoff, BrokerAddress, BrokerOptions
from edge_app.publish.refusal import RepeatFilter


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("mqtt://broker", BrokerAddress("broker", 1883, encrypted=False)),
        ("mqtts://broker", BrokerAddress("broker", 8883, encrypted=True)),
        ("mqtt://[::1]:1884", BrokerAddress("::1", 1884, encrypted=False)),
        ("ws://broker", BrokerAddress("broker", 80, path="/mqtt")),
        ("ws://broker:9001/", BrokerAddress("broker", 9001, path="/")),
        ("wss://broker/deep/er", BrokerAddress("broker", 443, encrypted=True, path="/deep/er")),
    ],
)
def test_addresses(uri: str, address: BrokerAddress) -> None:
    assert BrokerAddress.parse(uri) == address


@pytest.mark.parametrize(
    "uri",
    [
        "broker:1883",
        "tcp://broker",
        "mqtt://",
        "mqtt://broker/topic",
        "mqtt://b:99999",
        "ws://b/ü",
        "wss://b/x#y",
    ],
)
def test_what_is_no_address_is_explained(uri: str) -> None:
    with pytest.raises(ConfigError, match="The broker URI") as caught:
        BrokerAddress.parse(uri)
    assert caught.value.hint


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        BrokerAddress.parse("mqtt://camera:canary-88@broker")
    assert "canary-88" not in str(caught.value)


def test_a_token_in_the_path_of_a_web_socket_is_refused() -> None:
    with pytest.raises(ConfigError, match="holds more than host, port and path") as caught:
        BrokerAddress.parse("wss://broker/mqtt?token=canary-90")
    assert "canary-90" not in str(caught.value)


def test_a_web_socket_asks_for_the_host_as_its_uri_names_it() -> None:
    uris = {"ws://b": "b", "ws://b:443": "b:443", "wss://b": "b", "wss://[::1]:80": "[::1]:80"}
    assert {uri: BrokerAddress.parse(uri).http_host for uri in uris} == uris


def test_local_addresses_are_known() -> None:
    hosts = {"localhost": True, "127.0.0.53": True, "::1": True, "127.example.org": False, "10.0.0.1": False}
    assert {host: BrokerAddress(host, 1883).local for host in hosts} == hosts


def test_the_password_shows_in_no_repr() -> None:
    options = BrokerOptions.from_section(MqttSection(), client_id="edge-app-attic", password="canary-89")
    assert "canary-89" not in repr(options)
    assert options.client_id == "edge-app-attic"


class TestBackoff:
    def test_waits_double_up_to_the_bound(self) -> None:
        backoff = Backoff(0.5, 3.0, jitter=lambda: 1.0)
        assert [backoff.wait_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]

    def test_jitter_takes_off_up_to_half(self) -> None:
        assert Backoff(1.0, 1.0, jitter=lambda: 0.0).wait_s() == 0.5
        assert 0.5 <= Backoff(1.0, 1.0).wait_s() <= 1.0

    def test_the_longest_wait_is_never_cut(self) -> None:
        backoff = Backoff(0.5, 4.0, jitter=lambda: 0.0)
        assert [backoff.wait_s() for _ in range(6)] == [0.25, 0.5, 1.0, 4.0, 4.0, 4.0]

    def test_only_a_connection_that_lasted_starts_again(self) -> None:
        clock = Clock()
        backoff = Backoff(0.5, 30.0, lasting_s=10.0, clock=clock, jitter=lambda: 1.0)
        assert [backoff.wait_s(), backoff.wait_s()] == [0.5, 1.0]
        backoff.connected()
        clock.now_s += 9.0
        assert (backoff.wait_s(), backoff.broken_soon) == (2.0, 1)
        backoff.connected()
        clock.now_s += 10.0
        assert (backoff.wait_s(), backoff.broken_soon) == (0.5, 0)


def test_a_text_is_said_again_only_after_a_while() -> None:
    clock = Clock()
    repeats = RepeatFilter(60.0, clock)
    assert repeats.allows("down")
    clock.now_s = 59.0
    assert not repeats.allows("down")
    assert repeats.allows("other")
    clock.now_s = 60.0
    assert repeats.allows("down")
