"""`edge-app demo` as a newcomer runs it: it shows something, tells the truth, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.brokers import free_port, needs_amqtt, until
from tests.processes import children_of, command, edge_app_says, environment, is_running

pytest.importorskip("cv2")
pytest.importorskip("onnxruntime")

KEYS = {"cameras", "frames", "published", "fps", "latency_ms", "dropped", "map50", "backend"}

WITHOUT_MOSQUITTO = """
import shutil, sys
found = shutil.which
shutil.which = lambda name, *more, **options: None if name == "mosquitto" else found(name, *more, **options)
from edge_app.cli import main
sys.argv[0] = "edge-app"
main()
"""


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A demo that runs; its temporary files go into `folder`."""
    with subprocess.Popen(
        command("demo", *options),
        env=environment(TMPDIR=str(folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process
        process.kill()


def summary_of(output: str) -> dict[str, object]:
    found = json.loads(output.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_the_summary_is_one_json_object_on_the_last_line(tmp_path: Path) -> None:
    done = edge_app_says("demo", "--seconds", "3", "--json", env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert set(found) >= KEYS
    assert (found["cameras"], found["backend"]) == (1, "onnxruntime")
    assert 0 < found["published"] <= found["frames"]
    assert found["frames"] - found["published"] - found["dropped"] in {0, 1}  # one may be on its way
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p95"]
    assert found["fps"] > 0
    assert found["map50"] > 0.5
    for line in ("broker    ", "daemon    ", "frames    ", "latency   ", "objects   ", "accuracy  mAP50 "):
        assert f"\n{line}" in f"\n{done.stderr}"
    assert list(tmp_path.iterdir()) == []


@needs_amqtt
def test_without_mosquitto_it_brings_its_own_broker(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MOSQUITTO, "demo", "--seconds", "1", "--cameras", "2", "--json"],
        env=environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "broker    amqtt" in done.stderr
    found = summary_of(done.stdout)
    assert found["cameras"] == 2
    assert isinstance(found["published"], int)
    assert found["published"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
)
@pytest.mark.parametrize("phase", ["broker starts", "daemon starts"])
def test_ended_early_it_leaves_no_process_behind(
    number: signal.Signals, status: int, phase: str, tmp_path: Path
) -> None:
    with demo(tmp_path) as process:
        until(lambda: len(children_of(process.pid)) >= (1 if "broker" in phase else 2), phase)
        children = children_of(process.pid)
        process.send_signal(number)
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait() == status
    assert "Traceback" not in said
    until(lambda: not any(map(is_running, children)), "broker and daemon have ended")
    if number is not signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_it_shows_ends_with_the_summary(tmp_path: Path) -> None:
    port = free_port()
    with demo(tmp_path, "--broker-port", str(port)) as process:
        assert process.stdout is not None
        seen = iter(process.stdout.readline, "")
        assert f"edge-app watch --broker mqtt://127.0.0.1:{port}\n" in "".join(next(seen) for _ in range(2))

        # A second terminal sees it, too, once the cameras are there.
        deadline_s = time.monotonic() + 40
        while True:
            watched = edge_app_says("watch", "--broker", f"mqtt://127.0.0.1:{port}", "--seconds", "3")
            if "demo/street-1 streaming" in watched.stdout:
                break
            assert time.monotonic() < deadline_s, watched.stdout + watched.stderr

        children = children_of(process.pid)
        process.send_signal(signal.SIGINT)
        said = "".join(seen)
        assert process.wait() == 0
    assert "accuracy  mAP50" in said
    assert not any(map(is_running, children))
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = edge_app_says("demo", "--broker-port", str(port), env={"TMPDIR": str(tmp_path)})
    assert done.stderr == (
        f"edge-app: Port {port}, where the demo's broker should listen, is in use by another program. "
        "Hint: Choose another with --broker-port, or leave it out to get a free one.\n"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert list(tmp_path.iterdir()) == []
