"""Real brokers for the tests, in processes of their own: Mosquitto, and amqtt (MQTT 3.1.1 only)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

EXECUTABLE = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
needs_mosquitto = pytest.mark.skipif(EXECUTABLE is None, reason="mosquitto is not installed (apt)")
needs_amqtt = pytest.mark.skipif(
    importlib.util.find_spec("amqtt") is None, reason="amqtt is not installed (pip)"
)


def _without_websockets() -> bool:
    """Whether there is no Mosquitto, or one that was built without WebSockets: it says so in this string."""
    return EXECUTABLE is None or b"Websockets support not available" in Path(EXECUTABLE).read_bytes()


needs_websockets = pytest.mark.skipif(_without_websockets(), reason="mosquitto was built without WebSockets")

_AMQTT = """
import asyncio, logging, sys
logging.disable(logging.CRITICAL)
from amqtt.broker import Broker

async def serve():
    broker = Broker({
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{sys.argv[1]}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    })
    await broker.start()
    await asyncio.Event().wait()

asyncio.run(serve())
"""


def until(met: Callable[[], object], what: str, timeout_s: float = 15.0) -> None:
    """Wait until `met` is true; fail saying `what` never was."""
    deadline_s = time.monotonic() + timeout_s
    while not met():
        if time.monotonic() > deadline_s:
            pytest.fail(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.01)


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class BrokerProcess:
    """A broker that can be killed, frozen and started again at the same port."""

    def __init__(self, command: Callable[[int], list[str]]) -> None:
        self.port = free_port()
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            self._command(self.port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._listens, "the broker listens")

    def kill(self) -> None:
        """End it without warning (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def end(self) -> None:
        """Ask it to end (SIGTERM), and wait until it has."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def freeze(self) -> None:
        """Stop it as it stands; its connections stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the broker ended at once"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Mosquitto(BrokerProcess):
    """Mosquitto at a free port of this machine, without Nagle's delay towards subscribers.

    Args:
        folder: Where its configuration goes.
        users: Passwords by user name; empty: anybody may connect.
        tls: Folder with ca.pem, server.pem and server.key; None: unencrypted.
        lines: Further lines of its configuration.
    """

    def __init__(
        self,
        folder: Path,
        users: dict[str, str] | None = None,
        tls: Path | None = None,
        lines: Sequence[str] = (),
    ) -> None:
        self._folder, self._users, self._tls, self._lines = folder, users or {}, tls, lines
        super().__init__(self._prepare)

    @property
    def uri(self) -> str:
        return f"mqtts://localhost:{self.port}" if self._tls else super().uri

    def _prepare(self, port: int) -> list[str]:
        lines = [f"listener {port} 127.0.0.1", "set_tcp_nodelay true", "user root", *self._lines]
        if self._users:
            passwords = self._folder / "passwords"
            passwords.write_text("")
            for name, password in self._users.items():
                subprocess.run(["mosquitto_passwd", "-b", str(passwords), name, password], check=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        else:
            lines.append("allow_anonymous true")
        if self._tls:
            names = {"cafile": "ca.pem", "certfile": "server.pem", "keyfile": "server.key"}
            lines += [f"{option} {self._tls / name}" for option, name in names.items()]
        path = self._folder / "mosquitto.conf"
        path.write_text("\n".join(lines) + "\n")
        assert EXECUTABLE is not None
        return [EXECUTABLE, "-c", str(path)]


class Amqtt(BrokerProcess):
    """amqtt at a free port of this machine."""

    def __init__(self) -> None:
        super().__init__(lambda port: [sys.executable, "-c", _AMQTT, str(port)])
