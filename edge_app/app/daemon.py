"""The daemon: cameras, model and publisher of one configuration, from its start to its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from edge_app import __version__
from edge_app.app.commands import register_commands
from edge_app.app.detector import Detector
from edge_app.app.fleet import Fleet, enabled_cameras
from edge_app.app.hang_guard import HangGuard, parts_to_watch
from edge_app.app.monitoring import Monitoring, Watched
from edge_app.app.node_report import NodeReport, ProcessMeter
from edge_app.app.open_models import open_models
from edge_app.app.reload import Reloader, read_secrets
from edge_app.app.reload_requests import Answers, ReloadRequests
from edge_app.app.reload_steps import Running
from edge_app.app.sinks import SinkBuilder
from edge_app.config.loader import LoadedConfig, load_config, require_cameras
from edge_app.config.models import AppConfig
from edge_app.config.paths import service_state_directory
from edge_app.config.per_model import config_of_model
from edge_app.config.secret_names import name_warning
from edge_app.config.secrets import PasswordReference, SecretRegistry, resolve_password
from edge_app.errors import EdgeAppError
from edge_app.messages import NodeInfo
from edge_app.ops.logging import configure_logging, tell_what_was_left_out
from edge_app.ops.memory_watch import MemoryWatch
from edge_app.ops.node import NodeWatch, host_node_name
from edge_app.ops.process import keep_arenas_few
from edge_app.ops.run_file import RunFile, key_of
from edge_app.ops.run_record import RunRecord
from edge_app.ops.sd_notify import notify
from edge_app.ops.service_report import ServiceReport
from edge_app.ops.signals import reload_on_hangup, stop_on_signals
from edge_app.pipeline.stage import unless_stopped
from edge_app.pipeline.statistics import Statistics
from edge_app.pipeline.street import Model, Street
from edge_app.publish.commands.registry import CommandRegistry
from edge_app.publish.payloads import HealthSnapshot
from edge_app.publish.publisher import MqttPublisher
from edge_app.publish.sinks import SinkGroup

logger = logging.getLogger(__name__)


STREET_STOP_S = 1.5
PUBLISHER_STOP_S = 1.0
"""Together, with what else there is to do, less than the 5 s in which SIGTERM ends the daemon."""


def run_daemon(path: Path, log_level: str | None = None) -> None:
    """Run the daemon that a configuration file describes until SIGTERM, SIGINT or the end of all files.

    SIGHUP has it read the file again.

    Raises:
        ConfigError, ModelError: The configuration or its model cannot be used.
        EdgeAppError: The daemon cannot start, or a stage failed.
    """
    keep_arenas_few()
    stop, hangup = threading.Event(), threading.Event()
    reload_on_hangup(hangup, stop)
    loaded = load_config(path)
    require_cameras(loaded)
    secrets = SecretRegistry()
    configure_logging(log_level or loaded.config.log.level, secrets.redact)
    record = RunRecord(_record_file(path))
    stop_on_signals(stop, record.ended)  # somebody asked, twice: that is no failure
    application = Application(loaded, secrets, log_level, record)
    run_file = RunFile(path)
    run_file.open()
    try:
        application.run(stop, hangup, run_file)
    finally:
        run_file.close()
        tell_what_was_left_out()


def _record_file(config: Path) -> Path | None:
    """Return where the ends of runs are kept, if whoever starts the daemon again names a place; see paths."""
    place = service_state_directory()
    return None if place is None else place / f"run-{key_of(config)}.json"


class Application:
    """The daemon: cameras, model and publisher of one configuration.

    Args:
        loaded: A configuration with at least one enabled camera.
        secrets: Gets every password that is resolved, so that logs can hide it.
        log_level: What the command line said in place of `log.level`.
        record: Keeps how this run ends; None: nobody does.

    Raises:
        ConfigError: A password, a URI or a certificate cannot be used.
    """

    def __init__(
        self,
        loaded: LoadedConfig,
        secrets: SecretRegistry,
        log_level: str | None = None,
        record: RunRecord | None = None,
    ) -> None:
        config = loaded.config
        self._record = record or RunRecord()
        self._config = config
        self._secrets = secrets
        self._node = config.node.name or host_node_name()
        self._meter = ProcessMeter()
        self._street: Street | None = None
        self._publisher_error: BaseException | None = None
        passwords = read_secrets(config, self._secret)
        enabled = enabled_cameras(config)
        self._statistics = Statistics(enabled)
        commands = CommandRegistry()
        self._publisher = self._main_publisher(passwords.mqtt, commands)
        self._builder = SinkBuilder(
            node=self._node,
            boot=self._publisher.boot,
            statistics=self._statistics,
            observed=self,
            trouble=self._sink_trouble,
        )
        sinks = {
            name: self._builder.make(name, section, passwords.sinks.get(name))
            for name, section in config.sinks.items()
            if section.enabled
        }
        self._sinks = SinkGroup(self._publisher, sinks, self._sink_trouble)
        self._watch = NodeWatch(enabled, self._sinks, self._sinks.set_node_state)
        self._fleet = Fleet(config, passwords.cameras, self._statistics, self._watch)
        self._watched = self._parts_to_ask()
        self._node_report = NodeReport(self._watched, self._fleet, self._meter)
        self._guard = HangGuard(self._record)
        self._report = ServiceReport(self._node_report.service_state, self._guard.gets_on)
        self._reloader = Reloader(loaded, passwords, self._secret, log_level)
        self._reloads = ReloadRequests(self._reloader, self._report, self._watch, secrets.redact)
        register_commands(
            commands, self._fleet.group, self._fleet.tap, config.mqtt.commands, self._reloads.reload
        )
        self._monitoring = Monitoring(config.metrics, self._watched)
        self._memory = MemoryWatch(partial(self._watch.trouble, "memory"))

    def _main_publisher(self, password: str | None, commands: CommandRegistry) -> MqttPublisher:
        return MqttPublisher(
            self._config.mqtt,
            node=self._node,
            drops=self._statistics,
            observed=self,
            on_failure=self._publisher_failed,
            password=password,
            outbox_trouble=lambda words: self._watch.trouble("outbox", words),
            broker_trouble=lambda words: self._watch.trouble("broker", words),
            commands=commands,
            on_encoded=self._statistics.published,
        )

    def _parts_to_ask(self) -> Watched:
        return Watched(
            node=self._node,
            started_at_s=self._meter.started_at_ns / 1e9,
            statistics=self._statistics,
            watch=self._watch,
            publisher=self._publisher,
            sinks=self._sinks,
            lanes=self._fleet.lanes,
            cameras=self._fleet.by_model,
            redact=self._secrets.redact,
            record=self._record,
        )

    def run(
        self,
        stop: threading.Event,
        hangup: threading.Event | None = None,
        answers: Answers | None = None,
    ) -> None:
        """Run until `stop` is set or every camera is a file that has ended.

        Args:
            stop: Ends it.
            hangup: Has it reload, whenever it is set and as soon as there is something to change.
            answers: Hears what came of that.

        Raises:
            ModelError, BackendError, EngineError: The model cannot be run.
            StageFailedError: A stage failed.
        """
        words = "edge-app %s, node %s, %d cameras"
        logger.info(
            words, __version__, self._node, len(self._fleet.models), extra={"event": "daemon_started"}
        )
        self._record.begin()
        self._sinks.start()
        self._watch.starting()
        self._monitoring.start()
        self._memory.start()
        reason = "a failure"
        try:
            self._walk(stop, hangup or threading.Event(), answers)
            reason = "it was asked to stop" if stop.is_set() else "every camera has ended"
            self._record.ended()
        except BaseException as error:
            self._record.failed(error)
            if isinstance(error, EdgeAppError):
                # It may quote what a library said, and is printed and published.
                reason = error.message = self._secrets.redact(error.message)
            raise
        finally:
            self._reloader.end()
            self._fleet.tap.close()
            self._memory.stop()
            self._report.stop()
            # A service that stops on purpose is not started again for its watchdog.
            on_purpose = [] if self._guard.hung else ["STOPPING=1"]
            notify(*on_purpose, "STATUS=stopping: " + reason.partition("\n")[0])
            self._watch.stopping(reason)
            self._sinks.stop(PUBLISHER_STOP_S)
            self._monitoring.stop()
            self._guard.call_watchdog()
        logger.info("stopped: %s", reason, extra={"event": "daemon_stopped"})

    def dropped_frames(self, camera_id: str) -> int:
        """Return how much of a camera went no further; asked by the publisher."""
        return self._statistics.dropped_frames(camera_id)

    def health(self) -> HealthSnapshot:
        """Return how the daemon does now; asked by the publisher."""
        return self._node_report.health()

    def _sink_trouble(self, name: str, words: str | None) -> None:
        part = f"sink {name}"
        self._watch.trouble(part, None if words is None else f"{part}: {words}")

    def _walk(self, stop: threading.Event, hangup: threading.Event, answers: Answers | None) -> None:
        detectors: dict[str | None, Detector] = {}
        try:
            if not unless_stopped(stop, "model", lambda: self._open_models(detectors, stop)):
                return
            self._sinks.set_info(self._info(detectors))
            street = Street(
                cameras=self._fleet.group,
                live=self._fleet.live,
                models=[self._model(name, detector) for name, detector in detectors.items()],
                sink=self._sinks,
                statistics=self._statistics,
            )
            self._street = self._watched.street = street
            self._watched.models = {name: detector.backend.model for name, detector in detectors.items()}
            if self._publisher_error is not None:
                street.fail("publisher", self._publisher_error)
            self._watch.running()
            parts = parts_to_watch(self._fleet.group, street, self._publisher)
            self._guard.start(parts, street.fail, self._report.last_word)
            self._report.start()
            self._begin_to_reload(detectors, street)
            self._reloads.listen(stop, hangup, answers)
            street.run(stop, stop_timeout_s=STREET_STOP_S)
        finally:
            self._reloader.end()
            self._guard.stop()
            # One that hangs would be waited for; a model that is still being opened may come yet.
            for detector in [] if self._guard.hung else list(detectors.values()):
                detector.backend.close()

    def _begin_to_reload(self, detectors: Mapping[str | None, Detector], street: Street) -> None:
        running = Running(
            fleet=self._fleet,
            publisher=self._publisher,
            sinks=self._sinks,
            builder=self._builder,
            street=street,
            detectors=detectors,
            tell_info=lambda: self._sinks.set_info(self._info(detectors)),
        )
        self._reloader.begin(running)

    def _open_models(self, detectors: dict[str | None, Detector], stop: threading.Event) -> bool:
        return open_models(self._config, self._fleet, detectors, self._watch.starting, stop)

    def _model(self, name: str | None, detector: Detector) -> Model:
        inference = config_of_model(self._config, name).inference
        wait_s = inference.batch_wait_ms / 1e3
        return Model(self._fleet.lanes[name], detector.backend, detector.detect, wait_s, name or "")

    def _info(self, detectors: Mapping[str | None, Detector]) -> NodeInfo:
        return self._node_report.info(detectors)

    def _secret(self, config: AppConfig, section: PasswordReference, where: str) -> str | None:
        password = resolve_password(section, where)
        if password is not None:
            self._secrets.add(password)
            if words := name_warning(config, where, password):
                logger.warning("%s", words)
        return password

    def _publisher_failed(self, error: BaseException) -> None:
        self._publisher_error = error
        if self._street is not None:
            self._street.fail("publisher", error)
