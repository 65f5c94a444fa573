"""The demo's evening: a broker, the real daemon on rendered streets, a subscriber, and a summary."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
from rich.console import Console

from edge_app.demo.broker import DemoBroker, start_broker
from edge_app.demo.child import end_child, start_child
from edge_app.demo.summary import DemoSummary, render_summary
from edge_app.errors import EXIT_FAILURE, EdgeAppError
from edge_app.evaluate.live import LiveAccuracy
from edge_app.ops.signals import SIGNAL_STATUS
from edge_app.publish.broker import BrokerAddress, BrokerOptions
from edge_app.scene import StreetScene
from edge_app.watch.subscriber import Subscriber, watcher_client_id
from edge_app.watch.table import show

WIDTH, HEIGHT, FPS = 1280, 720, 30
ROOT, NODE = "edge", "demo"
START_TIMEOUT_S = 60.0

CONFIG = """\
node: {{name: {node}}}
log: {{level: info}}
metrics: {{enabled: false}}
inference: {{backend: onnxruntime}}
mqtt: {{uri: "{broker}", protocol: "{protocol}", root: {root}, health_interval_s: 1.0}}
cameras:
{cameras}"""


@dataclass(frozen=True, slots=True)
class DemoCamera:
    """A rendered street; its seed is one that the model was not trained on."""

    name: str
    seed: int

    @property
    def uri(self) -> str:
        """What the daemon opens."""
        return f"scene://street?seed={self.seed}&size={WIDTH}x{HEIGHT}&fps={FPS}"

    def scene(self) -> StreetScene:
        """Return the same street here, where its truth is looked up."""
        return StreetScene(seed=self.seed, width=WIDTH, height=HEIGHT, fps=FPS)


def run_demo(*, seconds: float, cameras: int, json_output: bool, broker_port: int | None = None) -> int:
    """Run the demo and return the exit status: non-zero when nothing was detected.

    Args:
        seconds: How long to run, from the first message on.
        cameras: How many rendered cameras.
        json_output: Print the summary as one JSON object, alone on standard output.
        broker_port: Where the broker listens on this machine; None: at a free port.

    Raises:
        EdgeAppError: Broker or daemon did not start.
    """
    console = Console(stderr=json_output, highlight=False, markup=False)
    streets = [DemoCamera(f"street-{number}", number) for number in range(1, cameras + 1)]
    accuracy = LiveAccuracy({street.name: street.scene() for street in streets})
    with _tidy_end(), tempfile.TemporaryDirectory(prefix="edge-app-demo-") as folder:
        summary = _watch_daemon(Path(folder), streets, accuracy, console, seconds, broker_port)
    with console.status("comparing with what the scenes know to be true ..."):
        average_precision = accuracy.result()
    found = DemoSummary.of(summary, average_precision, cameras=cameras)
    console.print(render_summary(found), soft_wrap=True)
    if json_output:
        sys.stdout.write(orjson.dumps(found.as_dict()).decode() + "\n")
    return 0 if found.objects else EXIT_FAILURE


@contextmanager
def _tidy_end() -> Iterator[None]:
    """End by way of all `finally` when the process is asked to end or its terminal is closed."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(SIGNAL_STATUS + number)

    previous = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _watch_daemon(
    folder: Path,
    streets: list[DemoCamera],
    accuracy: LiveAccuracy,
    console: Console,
    seconds: float,
    broker_port: int | None,
) -> dict[str, Any]:
    def judge(message: dict[str, Any]) -> None:
        accuracy.add(message)

    with _running_broker(folder, broker_port) as broker:
        console.print(f"broker    {broker.name}, for this demo only; see it from a second terminal:")
        console.print(f"          edge-app watch --broker {broker.uri}", soft_wrap=True)
        subscriber = Subscriber(
            BrokerOptions(BrokerAddress.parse(broker.uri), watcher_client_id(), protocol=broker.protocol),
            ROOT,
            on_detections=judge,
        )
        subscriber.start()
        try:
            with _running_daemon(folder, broker, streets, console) as daemon:
                _await_first_message(subscriber, daemon, folder, console)
                show(subscriber, console, seconds)
        finally:
            subscriber.stop()
        return subscriber.summary()


@contextmanager
def _running_broker(folder: Path, port: int | None) -> Iterator[DemoBroker]:
    broker = start_broker(folder, port)
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def _running_daemon(
    folder: Path, broker: DemoBroker, streets: list[DemoCamera], console: Console
) -> Iterator[subprocess.Popen[bytes]]:
    config = folder / "edge.yaml"
    cameras = "".join(f'  {street.name}: {{uri: "{street.uri}"}}\n' for street in streets)
    config.write_text(
        CONFIG.format(node=NODE, broker=broker.uri, protocol=broker.protocol, root=ROOT, cameras=cameras)
    )
    count = f"{len(streets)} rendered camera{'s' if len(streets) > 1 else ''}"
    console.print(f"daemon    edge-app run with {count}, {WIDTH}x{HEIGHT} at {FPS} fps")
    command = [sys.executable, "-m", "edge_app", "run", "--config", str(config)]
    daemon = start_child(command, _log_path(folder))
    try:
        yield daemon
    finally:
        end_child(daemon)


def _await_first_message(
    subscriber: Subscriber, daemon: subprocess.Popen[bytes], folder: Path, console: Console
) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    with console.status("loading the model and opening the cameras ..."):
        while not any(camera.fps > 0 for camera in subscriber.cameras().values()):
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise EdgeAppError(_what_happened(daemon, folder))
            time.sleep(0.1)


def _what_happened(daemon: subprocess.Popen[bytes], folder: Path) -> str:
    status = daemon.poll()
    if status is None:
        fate = f"published nothing within {START_TIMEOUT_S:.0f} s"
    elif status < 0:
        fate = f"was ended by {signal.Signals(-status).name}"
    else:
        fate = f"ended with exit status {status}"
    words = ""
    with suppress(OSError):
        words = "\n".join(_log_path(folder).read_text(errors="replace").splitlines()[-5:])
    return f"the daemon {fate}. Its last words:\n{words}"


def _log_path(folder: Path) -> Path:
    return folder / "daemon.log"
