"""A broker for the demo: Mosquitto where it is installed, otherwise amqtt in a child process."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from edge_app.demo.child import end_child, start_child
from edge_app.errors import EdgeAppError
from edge_app.publish.broker import Protocol

AUTO: Protocol = "auto"
OLD: Protocol = "3.1.1"
"""All that amqtt speaks; it does not even refuse version 5, but stays silent."""

START_TIMEOUT_S = 15.0

MOSQUITTO_CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
# Started by root, it would become another user, and the kernel then forgets to end it with the demo.
user root
# Without it the broker gathers small messages for 10 to 50 ms (Nagle's algorithm).
set_tcp_nodelay true
log_type error
"""


@dataclass(frozen=True, slots=True)
class DemoBroker:
    """A broker that runs for us, on a loopback port of its own."""

    name: str
    protocol: Protocol
    port: int
    process: subprocess.Popen[bytes]

    @property
    def uri(self) -> str:
        """Where to connect."""
        return f"mqtt://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End the broker."""
        end_child(self.process)


def find_mosquitto() -> str | None:
    """Return Mosquitto's program, also where Debian hides it from users; None if it is not installed."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def start_broker(folder: Path, port: int | None = None) -> DemoBroker:
    """Start a broker on a loopback port (None: a free one), with its files in `folder`.

    Raises:
        EdgeAppError: There is none to start, the port cannot be used, or it does not accept connections.
    """
    if port is None:
        port = free_port()
    else:
        _require_free(port)
    mosquitto = find_mosquitto()
    if mosquitto is not None:
        name, protocol, command = "Mosquitto", AUTO, [mosquitto, "-c", str(folder / "mosquitto.conf")]
        (folder / "mosquitto.conf").write_text(MOSQUITTO_CONFIG.format(port=port))
    elif importlib.util.find_spec("amqtt") is not None:
        name, protocol, command = (
            "amqtt",
            OLD,
            [sys.executable, "-m", "edge_app.demo.embedded_broker", str(port)],
        )
    else:
        raise EdgeAppError(
            "The demo needs an MQTT broker, and found none.",
            hint="Install one: apt install mosquitto, or pip install 'edge-app[demo]'.",
        )
    log = folder / "broker.log"
    broker = DemoBroker(name, protocol, port, start_child(command, log))
    try:
        _await_listening(broker, log)
    except BaseException:
        broker.stop()
        raise
    return broker


def _await_listening(broker: DemoBroker, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while broker.process.poll() is None and time.monotonic() < deadline:
        if _listens(broker.port):
            return
        time.sleep(0.05)
    last_words = log.read_text(errors="replace").strip().splitlines()[-3:]
    raise EdgeAppError(
        f"{broker.name} did not start on port {broker.port}: {' '.join(last_words) or 'it said nothing'}"
    )


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            reason = "is in use by another program" if in_use else f"cannot be used: {error.strerror}"
            raise EdgeAppError(
                f"Port {port}, where the demo's broker should listen, {reason}.",
                hint="Choose another with --broker-port, or leave it out to get a free one.",
            ) from None


def free_port() -> int:
    """Return a loopback port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
