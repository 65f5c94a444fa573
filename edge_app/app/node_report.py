"""What the daemon tells of itself: what runs here, and how it does."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import replace

from edge_app import __version__
from edge_app.app.detector import Detector
from edge_app.app.fleet import Fleet
from edge_app.app.monitoring import Watched
from edge_app.messages import CameraStatus, NodeInfo
from edge_app.ops.process import CpuMeter, rss_bytes
from edge_app.ops.sensors import HottestSensor, Sensors
from edge_app.ops.service_report import ServiceState
from edge_app.publish.payloads import CameraHealth, HealthSnapshot


class ProcessMeter:
    """What this process and its machine show of themselves, from now on.

    Attributes:
        started_at_ns: When that was, as Unix time in nanoseconds.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.started_at_ns = time.time_ns()
        self._cpu = CpuMeter()
        self._hottest = HottestSensor(Sensors())

    @property
    def uptime_s(self) -> float:
        """How long that was ago."""
        return time.monotonic() - self._started

    def cpu_percent(self) -> float | None:
        """Return the processor time since the last reading; see `CpuMeter`."""
        return self._cpu.percent()

    def celsius(self) -> float | None:
        """Return the temperature of the hottest sensor; see `HottestSensor`."""
        return self._hottest.celsius()


class NodeReport:
    """Puts together what sinks and the service manager hear. Any thread; returns at once.

    Args:
        watched: The parts of the daemon.
        fleet: Its cameras.
        meter: Measures its process.
    """

    def __init__(self, watched: Watched, fleet: Fleet, meter: ProcessMeter) -> None:
        self._watched, self._fleet, self._meter = watched, fleet, meter

    def info(self, detectors: Mapping[str | None, Detector]) -> NodeInfo:
        """Return what runs on this node; `detectors` are the open ones, by model."""
        models = {
            name: replace(detector.backend.model, configured_name=name)
            for name, detector in detectors.items()
        }
        return NodeInfo(
            version=__version__,
            python=platform.python_version(),
            platform=platform.platform(),
            started_at_ns=self._meter.started_at_ns,
            models={name: models[model] for name, model in self._fleet.models.items()},
            history={
                name: tuple((first, models[model]) for first, model in changes)
                for name, changes in self._fleet.history.items()
            },
            decoders=self._fleet.decoders,
        )

    def health(self) -> HealthSnapshot:
        """Return how the daemon does now."""
        publisher, statuses = self._watched.publisher, self._watched.watch.statuses()
        return HealthSnapshot(
            uptime_s=self._meter.uptime_s,
            queue_depth=publisher.queue_depth,
            outbox=publisher.outbox,
            broker_reconnects=publisher.reconnects,
            rss_bytes=rss_bytes(),
            cpu_percent=self._meter.cpu_percent(),
            temperature_c=self._meter.celsius(),
            sinks=self._watched.sinks.states(),
            cameras=self._cameras(statuses),
        )

    def _cameras(self, statuses: Mapping[str, CameraStatus]) -> dict[str, CameraHealth]:
        return {
            name: CameraHealth(
                state=statuses[name].state,
                fps=counts.fps,
                captured=counts.captured,
                published=self._watched.publisher.published(name),
                dropped=counts.dropped,
                reconnects=statuses[name].reconnects,
                candidates_invalid=counts.candidates_invalid,
                candidates_overflow=counts.candidates_overflow,
                decoder=statuses[name].decoder,
                decoder_fallbacks=statuses[name].decoder_fallbacks,
            )
            for name, counts in self._watched.statistics.counts().items()
            if name in statuses
        }

    def service_state(self) -> ServiceState:
        """Return what the service manager is told of it."""
        counts = self._watched.statistics.counts().values()
        outbox = self._watched.publisher.outbox
        return ServiceState(
            processed=sum(camera.processed for camera in counts),
            fps=sum(camera.fps for camera in counts),
            cameras={name: status.state for name, status in self._watched.watch.statuses().items()},
            outbox_messages=None if outbox is None else outbox.messages,
            outbox_oldest_s=None if outbox is None else outbox.oldest_s,
        )
