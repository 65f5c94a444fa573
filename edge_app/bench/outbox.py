"""What it costs to keep a message on disk, and how fast Mosquitto takes what has waited."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_app.bench.measure import BenchResult, BenchRow, environment
from edge_app.bench.publish import make_detections
from edge_app.config.models import MqttSection
from edge_app.demo.broker import find_mosquitto, free_port, start_broker
from edge_app.errors import ConfigError
from edge_app.messages import DropReason, ModelInfo, NodeInfo
from edge_app.publish.payloads import HealthSnapshot
from edge_app.publish.publisher import MqttPublisher

MESSAGES = 10_000
OBJECTS = 20
PUT = "put: build, encode, hand over to the outbox"
STORE = "until all of them are on disk"
DRAIN = "until Mosquitto has confirmed them, a window of 16"
PATIENCE_S = 120.0


class _Alone:
    """A publisher's neighbours, of which there are none."""

    def __init__(self) -> None:
        self.lost = 0

    def dropped(self, camera_id: str, reason: DropReason, count: int = 1) -> None:  # noqa: ARG002 - any
        self.lost += count

    def failed(self, error: BaseException) -> None:
        """The connection's thread died."""
        raise error

    def dropped_frames(self, camera_id: str) -> int:  # noqa: ARG002 - none
        return 0

    def health(self) -> HealthSnapshot:
        return HealthSnapshot(0.0, 0, 0)


def run(rounds: int = 3) -> BenchResult:
    """Keep ten thousand messages without a broker, then start one; `rounds` times.

    Raises:
        ConfigError: Mosquitto is not installed.
    """
    if find_mosquitto() is None:
        raise ConfigError("the outbox is measured with Mosquitto", hint="Install it: apt install mosquitto.")
    logging.getLogger("edge_app.publish").setLevel(logging.ERROR)  # there is no broker at first
    times_ms = np.array([_round() for _ in range(rounds)]) * 1e3 / MESSAGES
    rows = []
    for name, column in zip((PUT, STORE, DRAIN), times_ms.T, strict=True):
        p10, median, p90 = (float(value) for value in np.percentile(column, (10, 50, 90)))
        rows.append(BenchRow(name, median, p10, p90, float(np.median(column / times_ms[:, 0]))))
    title = f"{MESSAGES} durable detections messages of {OBJECTS} objects, a message"
    return BenchResult(title, PUT, rounds, tuple(rows), environment())


def _round() -> tuple[float, float, float]:
    """Return the seconds of putting, storing and draining."""
    with tempfile.TemporaryDirectory(prefix="edge-app-outbox-") as folder:
        port = free_port()
        alone = _Alone()
        publisher = _publisher(f"mqtt://127.0.0.1:{port}", folder, alone)
        detections = make_detections(OBJECTS)
        publisher.start()
        started = time.perf_counter()
        for _ in range(MESSAGES):
            publisher.put(detections, wait=True)
        put_s = time.perf_counter() - started
        _until(lambda: _waiting(publisher) == MESSAGES)
        stored_s = time.perf_counter() - started
        broker = start_broker(Path(folder), port)
        try:
            _until(lambda: publisher.is_connected)
            started = time.perf_counter()
            _until(lambda: _waiting(publisher) == 0)
            drained_s = time.perf_counter() - started
            publisher.stop(1.0)
        finally:
            broker.stop()
    if alone.lost:
        raise ConfigError(f"{alone.lost} messages could not be kept", hint="Is there room on the disk?")
    return put_s, stored_s, drained_s


def _publisher(uri: str, folder: str, alone: _Alone) -> MqttPublisher:
    section = MqttSection.model_validate(
        {
            "uri": uri,
            "reconnect_min_s": 0.1,
            "reconnect_max_s": 0.1,
            "delivery": {"detections": "durable"},
            "outbox": {"directory": folder},
        }
    )
    publisher = MqttPublisher(section, node="bench", drops=alone, observed=alone, on_failure=alone.failed)
    model = ModelInfo("demo", "0" * 64, tuple("abcdef"), "none", "none")
    publisher.set_info(NodeInfo("", "", "", 0, {"front": model}))
    return publisher


def _waiting(publisher: MqttPublisher) -> int:
    """Return how many messages are on disk; -1 while some are not there yet."""
    state = publisher.outbox
    return -1 if state is None or state.waiting else state.messages


def _until(met: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not met():
        if time.monotonic() > deadline_s:
            raise ConfigError(f"the outbox did not get there within {PATIENCE_S:g} s")
        time.sleep(0.002)
