"""No secret in anything that edge-app writes or hands on, of whatever kind it is and whatever fails.

Passwords by file, variable and credential, of cameras, of the main broker and of sinks, and the key of a
certificate; a daemon that is refused, hung up on and crashed; check-config, doctor with its bundle, bench.
Searched are every file that was written, with logs and tracebacks of all levels, every message on a broker,
standard output and error, metrics, and the command lines and environments of all processes.
"""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from tests.brokers import Mosquitto, free_port, needs_mosquitto, until
from tests.capture.mjpeg_server import MjpegServer
from tests.certificates import Authority, needs_openssl
from tests.e2e.daemon import BASE, Daemon, write_config
from tests.e2e.scrape import Watcher
from tests.processes import children_of, command, edge_app_says, environment
from tests.publish.parts import Parts

pytestmark = [pytest.mark.broker, needs_mosquitto, needs_openssl, pytest.mark.timeout(240)]

SCENE = "scene://street?seed=1&size=320x192&fps=5"
SECRETS = {
    "gate": "canary 1/gate@x:y",
    "door": "canary-2\"door'%41",
    "mqtt": "canary-3&broker=\\1",
    "cloud": "canary-4#cloud?",
    "house": "canary-5 \N{LATIN SMALL LETTER E WITH ACUTE}house",
}
BY_VARIABLE = {"DOOR_PASSWORD": "door", "CLOUD_PASSWORD": "cloud"}
USER = "viewer-7c"


class Canaries:
    """The secrets, where they may lie, and in how many ways they could be written."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self.credentials = folder / "credentials"
        self.credentials.mkdir(mode=0o700)
        for name in ("gate", "mqtt"):
            self._write(folder / f"{name}.password", SECRETS[name])
        self._write(self.credentials / "house-password", SECRETS["house"])
        made = authority.sign("client")
        self.certificate, self.key = made / "server.pem", made / "server.key"
        self._given = {
            *(folder / f"{name}.password" for name in ("gate", "mqtt")),
            self.credentials / "house-password",
            *authority.folder.rglob("*"),
        }

    @property
    def environment(self) -> dict[str, str]:
        variables = {name: SECRETS[secret] for name, secret in BY_VARIABLE.items()}
        state = {"STATE_DIRECTORY": str(self.folder / "state")}
        return {**variables, **state, "CREDENTIALS_DIRECTORY": str(self.credentials)}

    def spellings(self) -> list[bytes]:
        key = self.key.read_bytes().splitlines()
        found = [b"canary", key[1], key[len(key) // 2]]
        for secret in SECRETS.values():
            texts = {
                secret,
                quote(secret, safe=""),
                quote_plus(secret),
                json.dumps(secret)[1:-1],
                repr(secret)[1:-1],
            }
            found += [text.encode() for text in texts]
            found += [base64.b64encode(text.encode()) for text in (secret, f"{USER}:{secret}")]
            found.append(secret.encode().hex().encode())
        return found

    def check(self, what: str, content: bytes) -> None:
        for spelling in self.spellings():
            assert spelling not in content, f"{spelling!r} in {what}"

    def check_files(self) -> list[Path]:
        """Check all files that were written, and return them."""
        written = [path for path in self.folder.rglob("*") if path.is_file() and path not in self._given]
        for path in written:
            self.check(str(path), path.read_bytes())
            self.check("a name", bytes(path))
        return written

    def check_processes(self, daemon: subprocess.Popen[bytes]) -> None:
        """Check the daemon's command line, and those and the environments of its children."""
        self.check("its command line", Path(f"/proc/{daemon.pid}/cmdline").read_bytes())
        for child in children_of(daemon.pid):
            for name in ("cmdline", "environ"):
                self.check(f"the {name} of a child", Path(f"/proc/{child}/{name}").read_bytes())

    @staticmethod
    def _write(path: Path, secret: str) -> None:
        path.write_text(f"{secret}\n")
        path.chmod(0o600)


@pytest.fixture
def canaries(tmp_path: Path) -> Canaries:
    folder = tmp_path / "node"
    folder.mkdir()
    return Canaries(folder, Authority(tmp_path / "authority"))


@pytest.fixture
def camera() -> Iterator[MjpegServer]:
    made = MjpegServer(username=USER, password="another one")
    yield made
    made.close()


def sections(canaries: Canaries, camera: MjpegServer, other_broker: str) -> dict[str, Any]:
    """Return what to give to `write_config`: everything has a secret, and fails."""
    viewer = {"username": USER, "reconnect_min_s": 0.1, "reconnect_max_s": 0.5, "open_timeout_s": 2}
    again = {"username": USER, "reconnect_min_s": 0.1, "reconnect_max_s": 0.5}
    return {
        "cameras": {
            "yard": SCENE,
            "gate": {"uri": camera.uri, "password_file": "gate.password", **viewer},
            "door": {"uri": f"rtsp://127.0.0.1:{free_port()}/x", "password_env": "DOOR_PASSWORD", **viewer},
        },
        "mqtt": {
            "username": USER,
            "password_file": "mqtt.password",
            "delivery": {"detections": "durable"},
            "outbox": {"directory": "outbox"},
        },
        "sinks": {
            "cloud": {"type": "mqtt", "uri": other_broker, "password_env": "CLOUD_PASSWORD", **again},
            "house": {
                "type": "mqtt",
                "uri": f"mqtts://127.0.0.1:{other_broker.rpartition(':')[2]}",
                "password_credential": "house-password",
                "root": "house",
                "tls": {"cert_file": str(canaries.certificate), "key_file": str(canaries.key)},
                **again,
            },
            "archive": {"type": "jsonl", "directory": "archive", "max_mib": 1},
        },
        "log": {"level": "debug"},
    }


def test_no_secret_leaves_the_daemon(
    canaries: Canaries, camera: MjpegServer, parts: Parts, tmp_path: Path
) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("onnxruntime")
    folders = [tmp_path / "right", tmp_path / "wrong"]
    for folder in folders:
        folder.mkdir()
    right = Mosquitto(folders[0], users={USER: SECRETS["mqtt"], "judge": "j"})
    wrong = Mosquitto(folders[1], users={USER: "not this one"})
    right.start()
    wrong.start()
    watcher = Watcher()
    content = {**sections(canaries, camera, wrong.uri), "metrics": watcher.section}
    config = write_config(canaries.folder / "edge.yaml", right.uri, **content)
    daemon = Daemon(config, **canaries.environment)
    try:
        judge = parts.recorder(right.uri, username="judge", password="j")
        until(lambda: judge.on(f"{BASE}/camera/yard/detections"), "detections arrive", 30)
        for words in ("camera gate: lost", "camera door: lost", "[not_authorised]", "[tls_failed]"):
            daemon.until_log_says(words)
        canaries.check_processes(daemon.process)
        for path in ("/metrics", "/healthz", "/readyz"):
            status, text = watcher.get(path)
            assert status in (200, 503)
            canaries.check(path, text.encode())
        right.kill()
        daemon.until_log_says("connection lost")
        right.start()
        until(lambda: judge.on(f"{BASE}/health")[-1]["broker_reconnects"] >= 1, "it is back", 30)
        assert daemon.stop() == 0
        for topic, payload in judge.raw():
            canaries.check(f"a message on {topic}", topic.encode() + payload)
        assert len(judge.raw()) > 10
    finally:
        daemon.kill()
        right.kill()
        wrong.kill()
    written = {path.suffix for path in canaries.check_files()}
    assert {".log", ".db", ".jsonl", ".yaml"} <= written
    assert (
        f"http://***@127.0.0.1:{camera.server_address[1]}" in daemon.log or "refuses this user" in daemon.log
    )


@pytest.mark.parametrize("where", ["camera", "publisher", "main"])
def test_no_secret_stands_in_a_traceback(canaries: Canaries, camera: MjpegServer, where: str) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("onnxruntime")
    config = write_config(
        canaries.folder / "edge.yaml", None, **sections(canaries, camera, f"mqtt://127.0.0.1:{free_port()}")
    )
    log = canaries.folder / "edge.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.security.crashing", where, *command("run", "--config", config)[3:]],
            cwd=Path(__file__).parents[2],
            env=environment(**canaries.environment),
            stdout=output,
            stderr=output,
        )
    try:
        until(lambda: b"RuntimeError" in log.read_bytes(), "it has crashed", 30)
        if where != "main":  # the others are tried again
            process.send_signal(signal.SIGTERM)
        process.wait(20)
    finally:
        process.kill()
        process.wait()
    assert b"***" in log.read_bytes()
    assert b"Traceback" in log.read_bytes()
    canaries.check_files()


def test_no_secret_is_told_by_other_commands(canaries: Canaries, camera: MjpegServer) -> None:
    """Neither where a configuration is right, nor where people have typed passwords into it."""
    content = sections(canaries, camera, f"mqtt://127.0.0.1:{free_port()}")
    config = write_config(canaries.folder / "edge.yaml", None, **content)
    said = [edge_app_says("check-config", config, env=canaries.environment)]
    assert said[0].returncode == 0, said[0].stderr
    bundle = canaries.folder / "bundle.tar.gz"
    options = ("--config", config, "--bundle", bundle, "--json", "--timeout", "10")
    said.append(edge_app_says("doctor", *options, env=canaries.environment))
    said.append(edge_app_says("bench", "publish", "--rounds", "1", env=canaries.environment))
    said += [edge_app_says(*words, env=canaries.environment) for words in typed_in(canaries.folder)]
    for done in said:
        canaries.check(str(done.args), (done.stdout + done.stderr).encode())
    unpacked = canaries.folder / "bundle"
    with tarfile.open(bundle) as archive:
        archive.extractall(unpacked, filter="data")
    shutil.rmtree(canaries.folder / "typed")  # these hold what was typed in
    names = {path.name for path in canaries.check_files()}
    assert {"doctor.txt", "doctor.json", "edge.yaml"} <= names


def typed_in(folder: Path) -> list[tuple[str | Path, ...]]:
    """Write configurations with passwords where they do not belong; return commands that read them."""
    secret = SECRETS["door"]
    wrong: list[dict[str, Any]] = [
        {"cameras": {"gate": {"uri": f"rtsp://{USER}:{secret}@192.0.2.1/x"}}},
        {"cameras": {"gate": {"uri": "rtsp://192.0.2.1/x", "username": USER, "password_file": secret}}},
        {"cameras": {"gate": {"uri": "rtsp://192.0.2.1/x", "username": USER, "password_env": secret}}},
        {"mqtt": {"uri": f"mqtt://{USER}:{secret}@broker"}},
        {"sinks": {"cloud": {"type": "mqtt", "uri": f"wss://{USER}:{secret}@broker/mqtt"}}},
    ]
    (folder / "typed").mkdir()
    commands: list[tuple[str | Path, ...]] = []
    for number, content in enumerate(wrong):
        path = folder / "typed" / f"{number}.yaml"
        path.write_text(json.dumps({"cameras": {"yard": SCENE}, **content}))
        commands += [("check-config", path), ("run", "--config", path)]
    return commands
