"""The steps in which a running daemon takes a changed configuration over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from edge_app.app.changes import Changes, Secrets, broker_in_force
from edge_app.app.detector import Detector
from edge_app.app.fleet import Fleet
from edge_app.app.in_force import InForce
from edge_app.app.sinks import SinkBuilder
from edge_app.capture.attempt import Camera
from edge_app.config.differences import differing_keys
from edge_app.config.models import AppConfig, PostprocessSection
from edge_app.interfaces import Sink
from edge_app.ops.logging import set_level
from edge_app.pipeline.street import Street
from edge_app.publish.broker import BrokerOptions
from edge_app.publish.publisher import MqttPublisher
from edge_app.publish.sinks import SinkGroup

SINK_STOP_S = 1.0


@dataclass(frozen=True, slots=True)
class Running:
    """The parts of a daemon that runs.

    Attributes:
        tell_info: Tells all sinks what runs here, cameras included.
    """

    fleet: Fleet
    publisher: MqttPublisher
    sinks: SinkGroup
    builder: SinkBuilder
    street: Street
    detectors: Mapping[str | None, Detector]
    tell_info: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known to fail, done: what follows does not, unless by a fault of ours."""

    config: AppConfig
    secrets: Secrets
    changes: Changes
    cameras: tuple[Camera, ...]
    transport: str | None
    broker: BrokerOptions | None
    sinks: Mapping[str, Sink]
    thresholds: Mapping[str | None, PostprocessSection]


class Steps:
    """Takes a configuration over, one step after the other.

    Args:
        running: What is changed.
        prepared: What it is changed to.
        force: Keeps what is in force after each step.
        thresholds: The same of thresholds, by model.
        log_level: What the command line said in place of `log.level`.

    Attributes:
        applied: What is otherwise now, in words.
        refused: What stays as it was, with the reason.
    """

    def __init__(
        self,
        running: Running,
        prepared: Prepared,
        force: InForce,
        thresholds: dict[str | None, PostprocessSection],
        log_level: str | None,
    ) -> None:
        self._running, self._prepared = running, prepared
        self._force, self._thresholds, self._log_level = force, thresholds, log_level
        self.applied: list[str] = []
        self.refused = [f"{key} needs a restart" for key in prepared.changes.restart]

    def take(self) -> Iterator[None]:
        """Take everything over. After each step it may be left: what was done is known."""
        prepared = self._prepared
        self._set_log_level()
        yield
        for name, wanted in prepared.thresholds.items():
            self._retune(name, wanted)
            yield
        if prepared.broker is not None:
            self._change_broker(prepared.broker)
            yield
        for name in prepared.changes.sinks:
            self._replace_sink(name)
            yield
        if prepared.transport is not None:
            self._change_transport(prepared.transport)
            yield
        # New ones first: a model whose cameras are all exchanged is never without one.
        for camera in prepared.cameras:
            self._put_camera(camera)
            yield
        for name in prepared.changes.removed:
            with self._step(f"cameras.{name}"):
                self._running.fleet.remove(name, self._running.tell_info)
            self.applied.append(f"camera {name} removed")
            yield

    def _step(self, key: str) -> AbstractContextManager[None]:
        return self._force.step(key, self._prepared.config, self._prepared.secrets)

    def _set_log_level(self) -> None:
        level = self._prepared.config.log.level
        if level == (self._log_level or self._force.config.log.level):
            return
        if self._log_level is not None:
            self.refused.append(f"log.level is what the command line says, {self._log_level}")
            return
        with self._step("log"):
            set_level(level)
        self.applied.append(f"log.level {level}")

    def _retune(self, name: str | None, wanted: PostprocessSection) -> None:
        where = "postprocess." if name is None else f"models.{name}.postprocess."
        before = self._thresholds[name]
        self._thresholds[name] = got = self._running.detectors[name].retune(wanted)
        self.applied += differing_keys(before, got, where)
        self.refused += [f"{key} needs a restart" for key in differing_keys(got, wanted, where)]

    def _change_broker(self, options: BrokerOptions) -> None:
        section = broker_in_force(self._force.config, self._prepared.config)
        with self._step("mqtt"):
            self._running.publisher.redirect(section, options)
        self.applied.append("broker")

    def _replace_sink(self, name: str) -> None:
        running, new = self._running, self._prepared.sinks.get(name)
        what = "removed" if new is None else "altered" if name in self._force.config.sinks else "added"
        with self._step(f"sinks.{name}"):
            ended = running.sinks.replace(name, None, SINK_STOP_S)
            if ended is not None:
                running.builder.forget(name, ended)
            if new is not None:
                running.sinks.replace(name, new, SINK_STOP_S)
        self.applied.append(f"sink {name} {what}")

    def _change_transport(self, transport: str) -> None:
        fleet = self._running.fleet
        for name in fleet.over_other(transport):
            self._force.doubt(f"cameras.{name}")  # until it is put anew, which is to come
        fleet.change_transport(transport)

    def _put_camera(self, camera: Camera) -> None:
        name, running = camera.camera_id, self._running
        what = "altered" if name in running.fleet.models else "added"
        with self._step(f"cameras.{name}"):
            running.fleet.put(camera, self._prepared.config.cameras[name].model, running.tell_info)
            running.street.revive()
        self.applied.append(f"camera {name} {what}")
