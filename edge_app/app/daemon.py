"""The daemon: cameras, model and publisher of one configuration, from its start to its end."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from edge_app import __version__
from edge_app.app.build_watch import BuildWatch
from edge_app.app.commands import register_commands
from edge_app.app.detector import Detector, open_detector
from edge_app.app.fleet import Fleet, enabled_cameras
from edge_app.app.monitoring import Monitoring, Watched
from edge_app.app.reload import Reloader, ReloadResult, Running, read_secrets
from edge_app.app.sinks import SinkBuilder
from edge_app.capture.cameras import SUPERVISOR
from edge_app.config.loader import LoadedConfig, load_config, require_cameras
from edge_app.config.per_model import config_of_model
from edge_app.config.secrets import PasswordReference, SecretRegistry, resolve_password
from edge_app.errors import EXIT_CONFIG, EXIT_FAILURE, EdgeAppError, StageHungError
from edge_app.messages import NodeInfo
from edge_app.ops.logging import configure_logging, tell_what_was_left_out
from edge_app.ops.memory_watch import MemoryWatch
from edge_app.ops.node import NodeWatch, host_node_name
from edge_app.ops.process import CpuMeter, rss_bytes
from edge_app.ops.progress import Part, ProgressWatch
from edge_app.ops.run_file import RunFile
from edge_app.ops.sd_notify import notify
from edge_app.ops.sensors import HottestSensor, Sensors
from edge_app.ops.service_report import ServiceReport, ServiceState
from edge_app.ops.signals import reload_on_hangup, stop_on_signals
from edge_app.pipeline.stage import unless_stopped
from edge_app.pipeline.statistics import Statistics
from edge_app.pipeline.street import DEADLINE_S, Model, Street
from edge_app.publish.commands.registry import CommandRegistry
from edge_app.publish.connection import BROKER_THREAD
from edge_app.publish.payloads import CameraHealth, HealthSnapshot
from edge_app.publish.publisher import MqttPublisher
from edge_app.publish.sinks import SinkGroup

logger = logging.getLogger(__name__)


STREET_STOP_S = 1.5
PUBLISHER_STOP_S = 1.0
"""Together, with what else there is to do, less than the 5 s in which SIGTERM ends the daemon."""

LAST_RESORT_S = 8.0
"""After so long a process with a stage that hangs ends, whatever else it was about to do."""

RELOAD_POLL_S = 0.25

WATCHDOG_TRIGGER = "WATCHDOG=trigger"
"""Has the service manager do what it does when WATCHDOG=1 does not come; sd_notify(3)."""


def run_daemon(path: Path, log_level: str | None = None) -> None:
    """Run the daemon that a configuration file describes until SIGTERM, SIGINT or the end of all files.

    SIGHUP has it read the file again.

    Raises:
        ConfigError, ModelError: The configuration or its model cannot be used.
        EdgeAppError: The daemon cannot start, or a stage failed.
    """
    stop, hangup = threading.Event(), threading.Event()
    reload_on_hangup(hangup, stop)
    loaded = load_config(path)
    require_cameras(loaded)
    secrets = SecretRegistry()
    configure_logging(log_level or loaded.config.log.level, secrets.redact)
    stop_on_signals(stop)
    application = Application(loaded, secrets, log_level)
    run_file = RunFile(path)
    run_file.open()
    try:
        application.run(stop, hangup, lambda result: run_file.reply(str(result), result.exit_status))
    finally:
        run_file.close()
        tell_what_was_left_out()


class Application:
    """The daemon: cameras, model and publisher of one configuration.

    Args:
        loaded: A configuration with at least one enabled camera.
        secrets: Gets every password that is resolved, so that logs can hide it.
        log_level: What the command line said in place of `log.level`.

    Raises:
        ConfigError: A password, a URI or a certificate cannot be used.
    """

    def __init__(self, loaded: LoadedConfig, secrets: SecretRegistry, log_level: str | None = None) -> None:
        config = loaded.config
        self._config = config
        self._secrets = secrets
        self._node = config.node.name or host_node_name()
        self._started = time.monotonic()
        self._started_at_ns = time.time_ns()
        self._cpu = CpuMeter()
        self._hottest = HottestSensor(Sensors())
        self._street: Street | None = None
        self._publisher_error: BaseException | None = None
        passwords = read_secrets(config, self._secret)
        enabled = enabled_cameras(config)
        self._statistics = Statistics(enabled)
        commands = CommandRegistry()
        self._publisher = MqttPublisher(
            config.mqtt,
            node=self._node,
            drops=self._statistics,
            observed=self,
            on_failure=self._publisher_failed,
            password=passwords.mqtt,
            outbox_trouble=lambda words: self._watch.trouble("outbox", words),
            broker_trouble=lambda words: self._watch.trouble("broker", words),
            commands=commands,
            on_encoded=self._statistics.published,
        )
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
        self._reloader = Reloader(loaded, passwords, self._secret, log_level)
        register_commands(commands, self._fleet.group, self._fleet.tap, config.mqtt.commands, self.reload)
        self._progress: ProgressWatch | None = None
        self._hung = False
        self._report = ServiceReport(self._service_state, self._gets_on)
        self._watched = Watched(
            node=self._node,
            started_at_s=self._started_at_ns / 1e9,
            statistics=self._statistics,
            watch=self._watch,
            publisher=self._publisher,
            sinks=self._sinks,
            lanes=self._fleet.lanes,
            cameras=self._fleet.by_model,
            redact=secrets.redact,
        )
        self._monitoring = Monitoring(config.metrics, self._watched)
        self._memory = MemoryWatch(partial(self._watch.trouble, "memory"))

    def run(
        self,
        stop: threading.Event,
        hangup: threading.Event | None = None,
        on_reload: Callable[[ReloadResult], None] = lambda _: None,
    ) -> None:
        """Run until `stop` is set or every camera is a file that has ended.

        Args:
            stop: Ends it.
            hangup: Has it reload, whenever it is set and as soon as there is something to change.
            on_reload: Hears what came of that.

        Raises:
            ModelError, BackendError, EngineError: The model cannot be run.
            StageFailedError: A stage failed.
        """
        words = "edge-app %s, node %s, %d cameras"
        logger.info(
            words, __version__, self._node, len(self._fleet.models), extra={"event": "daemon_started"}
        )
        self._sinks.start()
        self._watch.starting()
        self._monitoring.start()
        self._memory.start()
        reason = "a failure"
        try:
            self._walk(stop, hangup or threading.Event(), on_reload)
            reason = "it was asked to stop" if stop.is_set() else "every camera has ended"
        except EdgeAppError as error:
            # It may quote what a library said, and is printed and published.
            reason = error.message = self._secrets.redact(error.message)
            raise
        finally:
            self._reloader.end()
            self._memory.stop()
            self._report.stop()
            # A service that stops on purpose is not started again for its watchdog.
            on_purpose = [] if self._hung else ["STOPPING=1"]
            notify(*on_purpose, "STATUS=stopping: " + reason.partition("\n")[0])
            self._watch.stopping(reason)
            self._sinks.stop(PUBLISHER_STOP_S)
            self._monitoring.stop()
            if self._hung:
                notify(WATCHDOG_TRIGGER)
        logger.info("stopped: %s", reason, extra={"event": "daemon_stopped"})

    def reload(self) -> ReloadResult:
        """Read the configuration file again and take over what can be. Any thread; never raises.

        What is left until a restart is named in the result. A file that is not valid changes nothing: the
        log, the node's status and the result say so.
        """
        if not self._reloader.open:
            return self._reloader.reload()
        self._report.reloading()
        result = self._reloader.reload()
        result = replace(result, problem=result.problem and self._secrets.redact(result.problem))
        wrong = result.problem if result.exit_status == EXIT_CONFIG else None
        first_line = wrong and f"the configuration was not reloaded: {wrong.partition(chr(10))[0]}"
        self._watch.trouble("configuration", first_line)
        severity = logging.WARNING if result.exit_status else logging.INFO
        logger.log(severity, "reloaded: %s", result, extra={"event": "reloaded"})
        self._report.reloaded(str(result))
        return result

    def dropped_frames(self, camera_id: str) -> int:
        """Return how much of a camera went no further; asked by the publisher."""
        return self._statistics.dropped_frames(camera_id)

    def health(self) -> HealthSnapshot:
        """Return how the daemon does now; asked by the publisher."""
        statuses = self._watch.statuses()
        return HealthSnapshot(
            uptime_s=time.monotonic() - self._started,
            queue_depth=self._publisher.queue_depth,
            outbox=self._publisher.outbox,
            broker_reconnects=self._publisher.reconnects,
            rss_bytes=rss_bytes(),
            cpu_percent=self._cpu.percent(),
            temperature_c=self._hottest.celsius(),
            sinks=self._sinks.states(),
            cameras={
                name: CameraHealth(
                    state=statuses[name].state,
                    fps=counts.fps,
                    captured=counts.captured,
                    published=self._publisher.published(name),
                    dropped=counts.dropped,
                    reconnects=statuses[name].reconnects,
                    candidates_invalid=counts.candidates_invalid,
                    candidates_overflow=counts.candidates_overflow,
                    decoder=statuses[name].decoder,
                    decoder_fallbacks=statuses[name].decoder_fallbacks,
                )
                for name, counts in self._statistics.counts().items()
                if name in statuses
            },
        )

    def _sink_trouble(self, name: str, words: str | None) -> None:
        part = f"sink {name}"
        self._watch.trouble(part, None if words is None else f"{part}: {words}")

    def _walk(
        self, stop: threading.Event, hangup: threading.Event, on_reload: Callable[[ReloadResult], None]
    ) -> None:
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
            self._progress = ProgressWatch(self._parts(street), self._hangs)
            self._progress.start()
            self._report.start()
            self._begin_to_reload(detectors, street)
            waiting = partial(self._reload_when_asked, stop, hangup, on_reload)
            threading.Thread(target=waiting, name="reload", daemon=True).start()
            street.run(stop, stop_timeout_s=STREET_STOP_S)
        finally:
            if self._progress is not None:
                self._progress.stop()
            # One that hangs would be waited for; a model that is still being opened may come yet.
            for detector in [] if self._hung else list(detectors.values()):
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

    def _reload_when_asked(
        self, stop: threading.Event, hangup: threading.Event, on_reload: Callable[[ReloadResult], None]
    ) -> None:
        while self._reloader.open and not stop.is_set():
            if hangup.wait(RELOAD_POLL_S):
                hangup.clear()
                on_reload(self.reload())

    def _parts(self, street: Street) -> list[Part]:
        """Return what must get on; a camera, or a broker, that is away is not among it."""
        return [
            Part("capture", SUPERVISOR, lambda: DEADLINE_S, self._fleet.group.sign),
            *street.parts(),
            Part("publisher", BROKER_THREAD, lambda: DEADLINE_S, self._publisher.sign),
        ]

    def _gets_on(self) -> bool:
        return self._progress is not None and self._progress.well()

    def _hangs(self, part: Part, idle_s: float) -> None:
        """End the process: in order if that can be, and surely after a while."""
        self._hung = True
        error = StageHungError(part.name, idle_s)
        notify(f"STATUS={error.message}")
        last_resort = threading.Timer(LAST_RESORT_S, _end_at_once)
        last_resort.daemon = True
        last_resort.start()
        if self._street is not None:
            self._street.fail(part.name, error)

    def _open_models(self, detectors: dict[str | None, Detector], stop: threading.Event) -> bool:
        """Open the models that have cameras, one after the other, into `detectors`; True once all are."""
        for name in self._fleet.lanes:
            config = config_of_model(self._config, name)
            shown = name or Path(config.model.path).stem
            progress = BuildWatch(shown, self._watch.starting)
            notify(f"STATUS=opening the model {shown}")
            try:
                detector = open_detector(config, configured_name=name, emit=progress, cancelled=stop.is_set)
            except EdgeAppError as error:
                if name is not None:
                    error.message = f"models.{name}: {error.message}"
                raise
            if stop.is_set():
                detector.backend.close()
                return False
            detectors[name] = detector
            self._fleet.memory[name].model = detector.memory
        return True

    def _model(self, name: str | None, detector: Detector) -> Model:
        inference = config_of_model(self._config, name).inference
        wait_s = inference.batch_wait_ms / 1e3
        return Model(self._fleet.lanes[name], detector.backend, detector.detect, wait_s, name or "")

    def _info(self, detectors: Mapping[str | None, Detector]) -> NodeInfo:
        models = {
            name: replace(detector.backend.model, configured_name=name)
            for name, detector in detectors.items()
        }
        return NodeInfo(
            version=__version__,
            python=platform.python_version(),
            platform=platform.platform(),
            started_at_ns=self._started_at_ns,
            models={name: models[model] for name, model in self._fleet.models.items()},
            history={
                name: tuple((first, models[model]) for first, model in changes)
                for name, changes in self._fleet.history.items()
            },
            decoders=self._fleet.decoders,
        )

    def _service_state(self) -> ServiceState:
        counts = self._statistics.counts().values()
        outbox = self._publisher.outbox
        return ServiceState(
            processed=sum(camera.processed for camera in counts),
            fps=sum(camera.fps for camera in counts),
            cameras={name: status.state for name, status in self._watch.statuses().items()},
            outbox_messages=None if outbox is None else outbox.messages,
            outbox_oldest_s=None if outbox is None else outbox.oldest_s,
        )

    def _secret(self, section: PasswordReference, where: str) -> str | None:
        password = resolve_password(section, where)
        if password is not None:
            self._secrets.add(password)
        return password

    def _publisher_failed(self, error: BaseException) -> None:
        self._publisher_error = error
        if self._street is not None:
            self._street.fail("publisher", error)


def _end_at_once() -> None:
    logger.critical("what hangs keeps the process from its end, which comes now")
    notify(WATCHDOG_TRIGGER)
    os._exit(EXIT_FAILURE)
