"""What probes are told of a street that is real, with a model that hangs and goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from prometheus_client import generate_latest

from edge_app.app.monitoring import Monitoring, Watched
from edge_app.app.scrape import Scrape
from edge_app.config.models import MetricsSection, MqttSection
from edge_app.errors import ChannelClosed
from edge_app.messages import (
    CameraState,
    CameraStatus,
    Candidates,
    Detections,
    DropReason,
    Frame,
    FrameInfo,
    ModelInfo,
    NodeInfo,
    NodeState,
    Timings,
)
from edge_app.ops.metrics import health
from edge_app.ops.metrics.page import registry_of
from edge_app.ops.node import NodeWatch
from edge_app.pipeline import street
from edge_app.pipeline.lanes import FrameLanes
from edge_app.pipeline.statistics import Statistics
from edge_app.pipeline.street import Model, Street
from edge_app.publish.payloads import HealthSnapshot
from edge_app.publish.publisher import MqttPublisher
from edge_app.publish.sinks import SinkGroup
from tests.brokers import free_port, until
from tests.fakes import AnsweringBackend, candidates


class LiveCamera:
    """Puts a frame each 10 ms until it is stopped."""

    def __init__(self, lanes: FrameLanes) -> None:
        self._lanes = lanes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        self._stop.set()
        self._thread.join(timeout_s)

    def _play(self) -> None:
        number = 0
        try:
            while not self._stop.wait(0.01):
                info = FrameInfo("gate", number, time.monotonic_ns(), time.time_ns(), 64, 48)
                self._lanes.put(Frame(info, np.zeros((48, 64, 3), np.uint8)))
                number += 1
        except ChannelClosed:
            pass


class Parts:
    """The parts of a daemon with one camera and no broker; its postprocess hangs until `goes_on` is set."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.goes_on.set()
        statistics = Statistics(["gate"])
        publisher = MqttPublisher(
            MqttSection(uri=f"mqtt://127.0.0.1:{free_port()}"),
            node="n",
            drops=statistics,
            observed=self,
            on_failure=lambda error: None,
        )
        sinks = SinkGroup(publisher, {}, lambda name, words: None)
        self.watch = NodeWatch(["gate"], sinks, sinks.set_node_state)
        lanes = FrameLanes({"gate": True}, max_age_s=60, counts=statistics)
        self.watched = Watched(
            node="n",
            started_at_s=1.5,
            statistics=statistics,
            watch=self.watch,
            publisher=publisher,
            sinks=sinks,
            lanes={None: lanes},
            cameras=lambda: {None: ["gate"]},
            redact=str,
        )
        self.monitoring = Monitoring(MetricsSection(enabled=False), self.watched)
        model = ModelInfo("m", "0" * 64, ("thing",), "memory", "fp32")
        publisher.set_info(NodeInfo("0", "3", "linux", 0, {"gate": model}))
        publisher.start()
        self.watch.starting("loading")
        self._street = Street(
            cameras=LiveCamera(lanes),
            live=frozenset({"gate"}),
            models=[Model(lanes, AnsweringBackend(lambda _: candidates()), self._detect, 0.0)],
            sink=sinks,
            statistics=statistics,
        )
        self._stop = threading.Event()
        self._walk = threading.Thread(target=self._street.run, args=(self._stop,))

    def run(self) -> None:
        self.watched.street = self._street
        self.watch.running()
        self.watch.camera_changed(CameraStatus("gate", CameraState.STREAMING))
        self._walk.start()

    def end(self) -> None:
        self.goes_on.set()
        self._stop.set()
        if self._walk.ident is not None:
            self._walk.join()
        self.watched.publisher.stop(0.1)

    def dropped_frames(self, camera_id: str) -> int:
        return 0

    def health(self) -> HealthSnapshot:
        raise AssertionError("without a broker nobody asks")

    def _detect(self, info: FrameInfo, found: Candidates, timings: Timings) -> Detections:
        self.goes_on.wait()
        return Detections(info, found.xyxy, found.confidence, found.class_id, timings=timings)


@pytest.fixture
def parts() -> Iterator[Parts]:
    made = Parts()
    yield made
    made.end()


def test_a_daemon_that_starts_lives_and_is_not_ready(parts: Parts) -> None:
    found = parts.monitoring.health()
    assert (found.state, found.failures(), found.obstacles()) == (
        NodeState.STARTING,
        [],
        ["starting: loading"],
    )


def test_a_model_that_hangs_fails_and_recovers(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(street, "DEADLINE_S", 0.3)
    monkeypatch.setattr(street, "BATCH_TIMEOUT_S", 0.3)
    monkeypatch.setattr(health, "SPARE_S", 0.1)
    parts.run()
    until(lambda: parts.monitoring.health().processed > 5, "frames are processed")
    assert parts.monitoring.health().obstacles() == []

    parts.goes_on.clear()
    until(lambda: parts.monitoring.health().failures(), "the hang is noticed", timeout_s=5)
    (reason,) = parts.monitoring.health().obstacles()
    assert "model (default): frames have waited" in reason
    counts = parts.watched.statistics.counts()["gate"]
    assert counts.dropped[DropReason.SUPERSEDED] > 5  # frames go on coming meanwhile

    parts.goes_on.set()
    until(lambda: not parts.monitoring.health().failures(), "it goes on", timeout_s=5)


def test_a_publisher_that_has_ended_is_a_failure(parts: Parts) -> None:
    parts.run()
    parts.watched.publisher.stop(0.1)
    until(lambda: "the publisher has ended" in parts.monitoring.health().failures(), "it is missed")


def test_a_count_that_falls_is_not_shown_to_fall(parts: Parts) -> None:
    registry = registry_of(Scrape(parts.watched, dict))

    def shown() -> bool:
        return b'edge_app_messages_published_total{camera="gate"} 3.0\n' in generate_latest(registry)

    published = parts.watched.publisher._published
    published["gate"] = 3
    assert shown()
    published["gate"] = 2  # the broker did not take one of them
    assert shown()
    published["gate"] = 3
    assert shown()
