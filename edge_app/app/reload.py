"""A changed configuration, taken over by the daemon while it runs: all that can be, or nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from edge_app.app.changes import Changes, Secrets, broker_in_force, find_changes
from edge_app.app.fleet import enabled_cameras
from edge_app.app.in_force import InForce
from edge_app.app.reload_steps import Prepared, Running, Steps
from edge_app.app.sinks import SinkBuilder
from edge_app.config.loader import LoadedConfig, load_config, require_cameras
from edge_app.config.models import AppConfig, PostprocessSection
from edge_app.config.per_model import config_of_model
from edge_app.config.secrets import PasswordReference
from edge_app.errors import EXIT_CONFIG, EXIT_FAILURE, EdgeAppError
from edge_app.interfaces import Sink

logger = logging.getLogger(__name__)

EXIT_RESTART = 3
"""Exit status of `edge-app reload`: what could be taken over was, and the rest needs a restart."""

ReadSecret = Callable[[AppConfig, PasswordReference, str], str | None]
"""Resolves the password of a configuration's section, of which the name is given too."""


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


def read_secrets(config: AppConfig, read: ReadSecret) -> Secrets:
    """Return all passwords of a configuration. Raises ConfigError if one cannot be had."""
    return Secrets(
        mqtt=read(config, config.mqtt, "mqtt"),
        cameras={name: read(config, one, f"cameras.{name}") for name, one in enabled_cameras(config).items()},
        sinks={
            name: read(config, one, f"sinks.{name}")
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
        self._path = loaded.path
        self._force = InForce(loaded.config, secrets)
        self._read_secret, self._log_level = read_secret, log_level
        self._lock = threading.Lock()
        self._running: Running | None = None
        self._why_not = "the daemon is still starting; try again once it is ready"
        self._thresholds: dict[str | None, PostprocessSection] = {}

    def begin(self, running: Running) -> None:
        """From now on there is something to change."""
        with self._lock:
            self._thresholds = {
                name: config_of_model(self._force.config, name).postprocess for name in running.detectors
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
            return self._commit(running, prepared)

    def _prepare(self, running: Running) -> Prepared:
        loaded = load_config(self._path)
        require_cameras(loaded)
        config = loaded.config
        secrets = read_secrets(config, self._read_secret)
        force = self._force
        changes = find_changes(
            force.config, config, force.secrets, secrets, running.fleet.lanes, force.unsure
        )
        thresholds = self._wanted_thresholds(running, config)
        cameras = tuple(
            running.fleet.make(name, config.cameras[name], secrets.cameras[name]) for name in changes.put
        )
        broker = running.publisher.options_of(broker_in_force(force.config, config), secrets.mqtt)
        return Prepared(
            config,
            secrets,
            changes,
            cameras,
            running.fleet.transport_with(cameras, changes.removed),
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

    def _commit(self, running: Running, prepared: Prepared) -> ReloadResult:
        steps = Steps(running, prepared, self._force, self._thresholds, self._log_level)
        rest = None
        try:
            for _ in steps.take():
                if self._running is None:
                    rest = self._why_not
                    break
            else:
                self._force.settle(prepared.config, prepared.secrets, prepared.changes)
        except Exception as error:
            logger.exception("the configuration was taken over in part")
            rest = f"unexpected {type(error).__name__}, see the log, and restart"
        if rest is not None:
            refused = (*steps.refused, f"the rest: {rest}")
            return ReloadResult(tuple(steps.applied), refused, None, EXIT_FAILURE)
        status = EXIT_RESTART if steps.refused else 0
        return ReloadResult(tuple(steps.applied), tuple(steps.refused), None, status)
