"""No secret in anything that the daemon writes, whatever is done to it: log, files, every message."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge_app.config.models import TlsSection
from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.capture.mjpeg_server import MjpegServer
from tests.certificates import Authority, needs_openssl
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemon import BASE, NODE, Daemon
from tests.faults.evil_broker import EvilBroker, answers
from tests.faults.proxy import Proxy
from tests.publish.parts import Parts, Recorder

pytestmark = [pytest.mark.broker, needs_mosquitto, needs_openssl, pytest.mark.timeout(180)]

BROKER_CANARY, CAMERA_CANARY = "canary 7/1@c2?broker", "canary-9&e=camera"
SCENE = "scene://street?seed=1&size=320x192&fps=5"
DENIED = f"{BASE}/info"


def spellings() -> list[bytes]:
    """Every way in which a canary could be written."""
    found = [b"canary"]
    for user, secret in (("edge", BROKER_CANARY), ("viewer", CAMERA_CANARY)):
        found += [base64.b64encode(text.encode()) for text in (secret, f"{user}:{secret}")]
        found += [text.encode() for text in (quote(secret, safe=""), quote_plus(secret))]
    return found


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@contextmanager
def mosquitto(folder: Path, certificates: Path, password: str, *lines: str) -> Iterator[Mosquitto]:
    folder.mkdir()
    folder.chmod(0o755)
    broker = Mosquitto(folder, users={"edge": password, "judge": "j"}, tls=certificates, lines=lines)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@pytest.fixture
def daemon(start: StartDaemon, tmp_path: Path, authority: Authority, proxy_to_anything: Proxy) -> Daemon:
    """It knows the broker by a proxy, behind which the test puts what it likes."""
    camera = MjpegServer(username="viewer", password="another one")
    (tmp_path / "secrets").mkdir()
    for name, secret in (("broker", BROKER_CANARY), ("camera", CAMERA_CANARY)):
        (tmp_path / "secrets" / name).write_text(secret + "\n")
    mqtt: dict[str, Any] = {
        "uri": f"mqtts://localhost:{proxy_to_anything.port}",
        "username": "edge",
        "password_file": "secrets/broker",
        "tls": {"ca_file": authority.ca_file},
        "delivery": {"detections": "durable"},
        "outbox": {"directory": "outbox"},
    }
    viewer = {"username": "viewer", "password_file": "secrets/camera", "reconnect_max_s": 1.0}
    cameras = {"yard": SCENE, "gate": {"uri": camera.uri, **viewer}}
    return start(None, cameras, "--log-level", "debug", mqtt=mqtt)


@pytest.fixture
def proxy_to_anything() -> Iterator[Proxy]:
    made = Proxy(1, encrypted=True)
    yield made
    made.close()


def steal_the_client_id(broker: Mosquitto, authority: Authority) -> paho.Client:
    """Return a client that takes the daemon's place, and takes it back whenever it is thrown out."""
    thief = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"edge-app-{NODE}", protocol=paho.MQTTv5)
    thief.username_pw_set("judge", "j")
    thief.tls_set(authority.ca_file)
    thief.reconnect_delay_set(1, 1)
    thief.connect("localhost", broker.port)
    thief.loop_start()
    return thief


def test_no_secret_is_written_anywhere(
    daemon: Daemon, proxy_to_anything: Proxy, authority: Authority, parts: Parts, tmp_path: Path
) -> None:
    proxy = proxy_to_anything
    daemon.until_log_says("camera gate: lost")
    folder = tmp_path / "brokers"
    folder.mkdir()
    folder.chmod(0o755)
    good = authority.sign("server")

    with mosquitto(folder / "password", good, "another password") as broker:
        proxy.target_port = broker.port
        daemon.until_log_says("[not_authorised]")
    with mosquitto(folder / "expired", authority.sign("expired", days=0), BROKER_CANARY) as broker:
        proxy.target_port = broker.port
        daemon.until_log_says("[certificate_expired]")
    with mosquitto(folder / "other", Authority(tmp_path / "other").sign("server"), BROKER_CANARY) as broker:
        proxy.target_port = broker.port
        daemon.until_log_says("[certificate_not_trusted]")
    evil = EvilBroker(good, BROKER_CANARY)
    proxy.target_port = evil.port
    until(lambda: evil.answered >= 2 * len(answers(b"")), "it has had its say, with either version", 40)
    evil.close()

    (folder / "acl").write_text(
        f"user edge\ntopic write edge/#\ntopic deny {DENIED}\nuser judge\ntopic readwrite #\n"
    )
    with mosquitto(folder / "right", good, BROKER_CANARY, f"acl_file {folder}/acl") as broker:
        judge = parts.recorder(
            broker.uri, username="judge", password="j", tls=TlsSection(ca_file=authority.ca_file)
        )
        proxy.target_port = broker.port
        until(lambda: told(judge, f"the broker refuses topic {DENIED}"), "the refused topic is told", 30)
        thief = steal_the_client_id(broker, authority)
        until(lambda: told(judge, "does another client use the client id"), "the other client is told", 40)
        thief.loop_stop()
        thief.disconnect()
        until(lambda: judge.on(f"{BASE}/camera/yard/detections"), "what waited comes")
        daemon.process.terminate()
        assert daemon.process.wait(10) == 0
        check_written(tmp_path, judge)


def told(judge: Recorder, words: str) -> bool:
    """Whether the node's own state says that it is degraded, with these words."""
    statuses = judge.on(f"{BASE}/status")
    return any(status["state"] == "degraded" and words in status["reason"] for status in statuses)


def check_written(folder: Path, judge: Recorder) -> None:
    ours = {folder / "secrets" / "broker", folder / "secrets" / "camera"}
    files = [path for path in folder.rglob("*") if path.is_file() and path not in ours]
    assert any(path.suffix == ".log" for path in files)
    assert any(path.suffix == ".db" for path in files)
    assert any(b"Traceback" in path.read_bytes() for path in files if path.suffix == ".log")
    for spelling in spellings():
        assert not [path for path in files if spelling in path.read_bytes()], spelling
        assert not [topic for topic, payload in judge.raw() if spelling in topic.encode() + payload]
