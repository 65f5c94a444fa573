from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edge_app.demo.broker import start_broker
from edge_app.errors import EdgeAppError
from tests.brokers import free_port, needs_amqtt, needs_mosquitto


def connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.broker
@needs_mosquitto
def test_it_listens_where_it_is_told_and_ends(tmp_path: Path) -> None:
    port = free_port()
    for _ in range(2):  # at once again, though the first one's connections linger
        broker = start_broker(tmp_path, port)
        try:
            assert (broker.name, broker.uri) == ("Mosquitto", f"mqtt://127.0.0.1:{port}")
            assert connects(port)
        finally:
            broker.stop()
        assert not connects(port)


@needs_amqtt
def test_without_mosquitto_it_is_amqtt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_arguments, **_options: None)
    broker = start_broker(tmp_path)
    try:
        assert (broker.name, broker.protocol) == ("amqtt", "3.1.1")
        assert connects(broker.port)
    finally:
        broker.stop()


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_said(tmp_path: Path, address: str) -> None:
    with socket.create_server((address, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(EdgeAppError) as caught:
            start_broker(tmp_path, port)
    assert str(caught.value) == (
        f"Port {port}, where the demo's broker should listen, is in use by another program. "
        "Hint: Choose another with --broker-port, or leave it out to get a free one."
    )


@pytest.mark.broker
@needs_mosquitto
def test_an_interrupted_start_leaves_no_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()

    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edge_app.demo.broker._await_listening", interrupt)
    with pytest.raises(KeyboardInterrupt):
        start_broker(tmp_path, port)
    assert not connects(port)


@pytest.mark.broker
@needs_mosquitto
def test_a_broker_that_does_not_start_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_app.demo.broker.MOSQUITTO_CONFIG", "listener {port} 127.0.0.1\nno_such_key 1\n")
    with pytest.raises(EdgeAppError, match=r"Mosquitto did not start on port \d+: .*no_such_key"):
        start_broker(tmp_path)
