"""A changed configuration, taken over by the daemon while it runs: all that can be, or nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_app.app.changes import Changes, Secrets, broker_in_force, find_changes, in_force
from edge_app.app.detector import Detector
from edge_app.app.fleet import Fleet, enabled_cameras
from edge_app.app.sinks import SinkBuilder
from edge_app.capture.attempt import Camera
from edge_app.config.differences import differing_keys
from edge_app.config.loader import LoadedConfig, load_config, require_cameras
from edge_app.config.models import AppConfig, PostprocessSection
from edge_app.config.per_model import config_of_model
from edge_app.config.secrets import PasswordReference
from edge_app.errors import EXIT_CONFIG, EXIT_FAILURE, EdgeAppError
from edge_app.interfaces import Sink
from edge_app.ops.logging import set_level
from edge_app.pipeline.street import Street
from edge_app.publish.broker import BrokerOptions
from edge_app.publish.publisher import MqttPublisher
from edge_app.publish.sinks import SinkGroup

logger = logging.getLogger(__name__)

EXIT_RESTART = 3
"""Exit status of `edge-app reload`: what could be taken over was, and the rest needs a restart."""

SINK_STOP_S = 1.0

ReadSecret = Callable[[PasswordReference, str], str | None]
"""Resolves the password of a section, of which the name is given too."""


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What came of a reload.

    Attributes:
        applied: What is otherwise now, in words; empty if nothing had changed.
        refused: What stays as it was, with the reason.
        problem: Why nothing was taken over at all, in words; None: all that could be was.
        exit_status: As the command line tells it.
    """

    applied: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    problem: str | None = None
    exit_status: int = 0

    def __str__(self) -> str:
        if self.problem is not None:
            return f"nothing was changed: {self.problem}"
        words = ["; ".join(self.applied) or "nothing to change"]
        words += [f"as before: {'; '.join(self.refused)}"] if self.refused else []
        return "; ".join(words)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """All that could fail, done: what follows does not."""

    config: AppConfig
    secrets: Secrets
    changes: Changes
    cameras: tuple[Camera, ...]
    broker: BrokerOptions | None
    sinks: Mapping[str, Sink]
    thresholds: Mapping[str | None, PostprocessSection]


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


def read_secrets(config: AppConfig, read: ReadSecret) -> Secrets:
    """Return all passwords of a configuration. Raises ConfigError if one cannot be had."""
    return Secrets(
        mqtt=read(config.mqtt, "mqtt"),
        cameras={name: read(one, f"cameras.{name}") for name, one in enabled_cameras(config).items()},
        sinks={
            name: read(one, f"sinks.{name}")
            for name, one in config.sinks.items()
            if one.type == "mqtt" and one.enabled
        },
    )


class Reloader:
    """Takes changes of the configuration over. Thread-safe; one reload at a time.

    Args:
        loaded: What runs, and where it came from.
        secrets: Its passwords.
        read_secret: Resolves those of what comes.
        log_level: What the command line said in place of `log.level`, which then counts for nothing.
    """

    def __init__(
        self, loaded: LoadedConfig, secrets: Secrets, read_secret: ReadSecret, log_level: str | None = None
    ) -> None:
        self._path, self._config, self._secrets = loaded.path, loaded.config, secrets
        self._read_secret, self._log_level = read_secret, log_level
        self._lock = threading.Lock()
        self._running: Running | None = None
        self._why_not = "the daemon is still starting; try again once it is ready"
        self._thresholds: dict[str | None, PostprocessSection] = {}

    def begin(self, running: Running) -> None:
        """From now on there is something to change."""
        with self._lock:
            self._thresholds = {
                name: config_of_model(self._config, name).postprocess for name in running.detectors
            }
            self._running = running

    def end(self) -> None:
        """The daemon ends: nothing is changed any more. A reload that runs is not waited for."""
        self._running, self._why_not = None, "the daemon is stopping"

    @property
    def open(self) -> bool:
        """Whether there is something to change."""
        return self._running is not None

    def reload(self) -> ReloadResult:
        """Read the configuration again and take over what has changed. Never raises."""
        with self._lock:
            running = self._running
            if running is None:
                return ReloadResult(problem=self._why_not, exit_status=EXIT_FAILURE)
            try:
                prepared = self._prepare(running)
            except EdgeAppError as error:
                return ReloadResult(problem=str(error), exit_status=EXIT_CONFIG)
            except Exception as error:
                logger.exception("the configuration could not be read")
                words = f"unexpected {type(error).__name__}, see the log"
                return ReloadResult(problem=words, exit_status=EXIT_FAILURE)
            try:
                return self._commit(running, prepared)
            except Exception as error:
                logger.exception("the configuration was taken over in part")
                words = f"the rest: unexpected {type(error).__name__}, see the log, and restart"
                return ReloadResult(refused=(words,), exit_status=EXIT_FAILURE)

    def _prepare(self, running: Running) -> _Prepared:
        loaded = load_config(self._path)
        require_cameras(loaded)
        config = loaded.config
        secrets = read_secrets(config, self._read_secret)
        changes = find_changes(self._config, config, self._secrets, secrets, running.fleet.lanes)
        thresholds = self._wanted_thresholds(running, config)
        cameras = tuple(
            running.fleet.make(name, config.cameras[name], secrets.cameras[name]) for name in changes.put
        )
        broker = running.publisher.options_of(broker_in_force(self._config, config), secrets.mqtt)
        return _Prepared(
            config,
            secrets,
            changes,
            cameras,
            broker if changes.broker else None,
            self._new_sinks(running.builder, config, secrets, changes),
            thresholds,
        )

    def _wanted_thresholds(self, running: Running, config: AppConfig) -> dict[str | None, PostprocessSection]:
        wanted = {}
        for name, detector in running.detectors.items():
            if name is not None and name not in config.models:
                continue
            section = config_of_model(config, name).postprocess
            if section != self._thresholds[name]:
                detector.check(section)
                wanted[name] = section
        return wanted

    def _new_sinks(
        self, builder: SinkBuilder, config: AppConfig, secrets: Secrets, changes: Changes
    ) -> dict[str, Sink]:
        made: dict[str, Sink] = {}
        try:
            for name in changes.sinks:
                section = config.sinks.get(name)
                if section is not None and section.enabled:
                    made[name] = builder.make(name, section, secrets.sinks.get(name))
        except EdgeAppError:
            for sink in made.values():
                sink.stop(0.0)
            raise
        return made

    def _commit(self, running: Running, prepared: _Prepared) -> ReloadResult:
        before, changes = self._config, prepared.changes
        refused = [f"{key} needs a restart" for key in changes.restart]
        applied = self._set_log_level(prepared.config, refused)
        applied += self._retune(running, prepared, refused)
        if prepared.broker is not None:
            running.publisher.redirect(broker_in_force(before, prepared.config), prepared.broker)
            applied.append("broker")
        for name in changes.sinks:
            ended = running.sinks.replace(name, None, SINK_STOP_S)
            if ended is not None:
                running.builder.forget(name, ended)
            if name in prepared.sinks:
                running.sinks.replace(name, prepared.sinks[name], SINK_STOP_S)
            applied.append(f"sink {name} {_what(name, before.sinks, prepared.sinks)}")
        applied += self._change_cameras(running, prepared)
        self._config = in_force(before, prepared.config, changes)
        self._secrets = prepared.secrets
        return ReloadResult(tuple(applied), tuple(refused), None, EXIT_RESTART if refused else 0)

    def _set_log_level(self, config: AppConfig, refused: list[str]) -> list[str]:
        level = config.log.level
        if level == (self._log_level or self._config.log.level):
            return []
        if self._log_level is not None:
            refused.append(f"log.level is what the command line says, {self._log_level}")
            return []
        set_level(level)
        return [f"log.level {level}"]

    def _retune(self, running: Running, prepared: _Prepared, refused: list[str]) -> list[str]:
        applied = []
        for name, wanted in prepared.thresholds.items():
            where = "postprocess." if name is None else f"models.{name}.postprocess."
            before = self._thresholds[name]
            self._thresholds[name] = got = running.detectors[name].retune(wanted)
            applied += list(differing_keys(before, got, where))
            refused += [f"{key} needs a restart" for key in differing_keys(got, wanted, where)]
        return applied

    def _change_cameras(self, running: Running, prepared: _Prepared) -> list[str]:
        """New ones first: a model whose cameras are all exchanged is never without one."""
        applied = []
        known = running.fleet.models
        for camera in prepared.cameras:
            name = camera.camera_id
            running.fleet.put(camera, prepared.config.cameras[name].model, running.tell_info)
            applied.append(f"camera {name} {'altered' if name in known else 'added'}")
        for name in prepared.changes.removed:
            running.fleet.remove(name, running.tell_info)
            applied.append(f"camera {name} removed")
        if prepared.cameras:
            running.street.revive()
        return applied


def _what(name: str, before: Mapping[str, object], after: Mapping[str, object]) -> str:
    if name not in after:
        return "removed"
    return "altered" if name in before else "added"
