"""What is told of the daemon to whoever watches it: metrics, and whether it lives and works."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

import orjson

from edge_app.config.listen_address import parse_listen_address
from edge_app.config.models import MetricsSection
from edge_app.messages import ModelInfo
from edge_app.ops.metrics.health import Health
from edge_app.ops.metrics.server import Answer, Kept, WatchServer
from edge_app.ops.node import NodeWatch
from edge_app.ops.run_record import RunRecord
from edge_app.pipeline.lanes import FrameLanes
from edge_app.pipeline.statistics import Statistics
from edge_app.pipeline.street import Street
from edge_app.publish.publisher import MqttPublisher
from edge_app.publish.sinks import SinkGroup

DEFAULT_MODEL = "(default)"
"""Stands for the model of `model`, which has no name; no model below `models` can be called so."""


@dataclass(slots=True)
class Watched:
    """The parts of the daemon that are asked; `street` and `models` come when the models are open.

    Attributes:
        cameras: Returns by model the ids of its cameras now; None is the model of `model`.
        models: What runs, by model.
        record: How runs ended so far.
    """

    node: str
    started_at_s: float
    statistics: Statistics
    watch: NodeWatch
    publisher: MqttPublisher
    sinks: SinkGroup
    lanes: Mapping[str | None, FrameLanes]
    cameras: Callable[[], Mapping[str | None, Sequence[str]]]
    redact: Callable[[str], str]
    street: Street | None = None
    models: Mapping[str | None, ModelInfo] = field(default_factory=dict)
    record: RunRecord = field(default_factory=RunRecord)


class Monitoring:
    """Serves what the parts of the daemon tell, as long as it runs.

    Args:
        section: Whether, and where.
        watched: The parts.
    """

    def __init__(self, section: MetricsSection, watched: Watched) -> None:
        self._watched = watched
        self._server: WatchServer | None = None
        if section.enabled:
            address = parse_listen_address(section.address)
            paths = {
                "/metrics": Kept(self._metrics()),
                "/healthz": Kept(partial(self._judged, Health.failures)),
                "/readyz": Kept(partial(self._judged, Health.obstacles)),
            }
            self._server = WatchServer(address.host, address.port, paths)

    def start(self) -> None:
        """Begin to answer; returns at once."""
        if self._server is not None:
            self._server.start()

    def stop(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.stop()

    def health(self) -> Health:
        """Return how the daemon does now."""
        watched = self._watched
        state, reason = watched.watch.node()
        counts = watched.statistics.counts().values()
        street = watched.street
        ended = [f"stage {name}" for name in street.ended_stages()] if street else []
        deadlines_s = street.deadlines_s() if street else {}
        if not watched.publisher.alive:
            ended.append("the publisher")
        return Health(
            state=state,
            reason=None if reason is None else watched.redact(reason),
            cameras={name: status.state for name, status in watched.watch.statuses().items()},
            processed=sum(camera.processed for camera in counts),
            ended_parts=ended,
            standstill_s=self._standstill_s() if street else {},
            deadlines_s={name or DEFAULT_MODEL: limit_s for name, limit_s in deadlines_s.items()},
            broker_connected=watched.publisher.is_connected,
        )

    def _standstill_s(self) -> dict[str, float]:
        cameras, statistics = self._watched.cameras(), self._watched.statistics
        return {model or DEFAULT_MODEL: statistics.standstill_s(names) for model, names in cameras.items()}

    def _judged(self, judge: Callable[[Health], list[str]]) -> Answer:
        health = self.health()
        reasons = judge(health)
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        return Answer(status, "application/json", orjson.dumps(health.document(reasons)) + b"\n")

    def _metrics(self) -> Callable[[], Answer]:
        # The library takes 60 ms to import, and is not needed where nothing is served.
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        from edge_app.app.scrape import Scrape
        from edge_app.ops.metrics.page import registry_of

        registry = registry_of(Scrape(self._watched, self._standstill_s), self._watched.redact)
        return lambda: Answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
