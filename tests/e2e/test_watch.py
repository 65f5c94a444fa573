"""`edge-app watch` beside a running daemon, on a pipe and on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.brokers import Mosquitto, needs_mosquitto
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemon import NODE
from tests.processes import command, edge_app_says, environment

pytestmark = [pytest.mark.broker, needs_mosquitto]

CLEAR_LINE, SHOW_CURSOR = "\x1b[2K", "\x1b[?25h"


@pytest.fixture
def broker(start: StartDaemon, mosquitto: Mosquitto) -> str:
    """The URI of a broker at which a daemon publishes."""
    mosquitto.start()
    daemon = start(
        mosquitto.uri,
        {"yard": "scene://street?seed=1&size=320x192&fps=10", "door": "v4l2:///dev/video99"},
    )
    daemon.until_log_says("camera yard: streaming")
    return mosquitto.uri


@contextmanager
def on_a_terminal(columns: int, *arguments: str, **env: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run edge-app on a terminal that is so wide; yields the process and the terminal's other side."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    settings = environment(**env)
    del settings["COLUMNS"]
    process = subprocess.Popen(command(*arguments), env=settings, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, met: Callable[[str], bool], what: str, timeout_s: float = 15.0) -> str:
    """Read what the terminal shows until `met` is true of it; fail saying `what` never came."""
    deadline_s, shown = time.monotonic() + timeout_s, b""
    while not met(shown.decode(errors="replace")):
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline_s - time.monotonic()))
        if not ready:
            pytest.fail(f"not within {timeout_s:g} s: {what}; but {shown.decode(errors='replace')!r}")
        shown += os.read(terminal, 65536)
    return shown.decode()


def test_on_a_pipe_it_prints_a_line_for_each_camera(broker: str) -> None:
    done = edge_app_says("watch", "--broker", broker, "--seconds", "2", env={"COLUMNS": "40"})
    assert done.returncode == 0
    assert done.stderr == ""
    door, yard = done.stdout.splitlines()[-2:]
    assert f"{NODE}/door lost: there is no device /dev/video99; is the camera plugged in? 0.0 fps" in door
    assert re.search(rf"{NODE}/yard streaming [0-9.]+ fps, latency p50/p95 \d+/\d+ ms, dropped \d+", yard)


@pytest.mark.parametrize("env", [{"TERM": "xterm-256color"}, {"TERM": "xterm", "NO_COLOR": "1"}])
def test_on_a_terminal_it_is_a_table_until_ctrl_c(broker: str, env: dict[str, str]) -> None:
    with on_a_terminal(120, "watch", "--broker", broker, **env) as (process, terminal):
        shown = read_until(terminal, lambda text: f"{NODE}/yard" in text, "a row")
        shown += read_until(terminal, lambda text: text.count("streaming") > 1, "the table is renewed")
        assert CLEAR_LINE in shown
        assert ("\x1b[32m" in shown) == ("NO_COLOR" not in env)
        process.send_signal(signal.SIGINT)
        read_until(terminal, lambda text: SHOW_CURSOR in text, "the cursor is shown again")
        assert process.wait(5) == 0


@pytest.mark.parametrize(("columns", "term"), [(80, "dumb"), (40, "xterm")])
def test_a_poor_terminal_gets_lines(broker: str, columns: int, term: str) -> None:
    with on_a_terminal(columns, "watch", "--broker", broker, TERM=term) as (_, terminal):
        shown = read_until(terminal, lambda text: f"{NODE}/yard streaming" in text, "a line")
    assert "\x1b" not in shown
