"""The daemon: cameras, model and publisher of one configuration, from its start to its end."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_app import __version__
from edge_app.app.build_watch import BuildWatch
from edge_app.app.commands import register_commands
from edge_app.app.decoders import find_decoders, runs_on_gpu
from edge_app.app.detector import Detector, open_detector
from edge_app.app.monitoring import Monitoring, Watched
from edge_app.app.sinks import SinkBuilder
from edge_app.capture.attempt import Camera
from edge_app.capture.cameras import SUPERVISOR, CameraGroup
from edge_app.capture.factory import create_camera
from edge_app.capture.snapshot import SnapshotTap
from edge_app.config.loader import LoadedConfig, load_config, require_cameras
from edge_app.config.models import CameraSection
from edge_app.config.per_model import cameras_by_model, config_of_model
from edge_app.config.secrets import PasswordReference, SecretRegistry, resolve_password
from edge_app.errors import EXIT_FAILURE, CaptureError, ConfigError, EdgeAppError, StageHungError
from edge_app.interfaces import PixelMemory, Sink, VideoDecoders
from edge_app.messages import NodeInfo
from edge_app.ops.logging import configure_logging, tell_what_was_left_out
from edge_app.ops.node import NodeWatch, host_node_name
from edge_app.ops.process import CpuMeter, rss_bytes
from edge_app.ops.progress import Part, ProgressWatch
from edge_app.ops.sd_notify import notify
from edge_app.ops.sensors import Sensors
from edge_app.ops.service_report import ServiceReport, ServiceState
from edge_app.ops.signals import stop_on_signals
from edge_app.pipeline.lanes import FrameLanes
from edge_app.pipeline.router import FrameRouter
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

WATCHDOG_TRIGGER = "WATCHDOG=trigger"
"""Has the service manager do what it does when WATCHDOG=1 does not come; sd_notify(3)."""


def run_daemon(path: Path, log_level: str | None = None) -> None:
    """Run the daemon that a configuration file describes until SIGTERM, SIGINT or the end of all files.

    Raises:
        ConfigError, ModelError: The configuration or its model cannot be used.
        EdgeAppError: The daemon cannot start, or a stage failed.
    """
    loaded = load_config(path)
    require_cameras(loaded)
    secrets = SecretRegistry()
    configure_logging(log_level or loaded.config.log.level, secrets.redact)
    stop = threading.Event()
    stop_on_signals(stop)
    try:
        Application(loaded, secrets).run(stop)
    finally:
        tell_what_was_left_out()


class Application:
    """The daemon: cameras, model and publisher of one configuration.

    Args:
        loaded: A configuration with at least one enabled camera.
        secrets: Gets every password that is resolved, so that logs can hide it.

    Raises:
        ConfigError: A password, a URI or a certificate cannot be used.
    """

    def __init__(self, loaded: LoadedConfig, secrets: SecretRegistry) -> None:
        config = loaded.config
        self._config = config
        self._secrets = secrets
        self._node = config.node.name or host_node_name()
        self._started = time.monotonic()
        self._started_at_ns = time.time_ns()
        self._cpu = CpuMeter()
        self._sensors = Sensors()
        self._street: Street | None = None
        self._publisher_error: BaseException | None = None
        enabled = {name: camera for name, camera in config.cameras.items() if camera.enabled}
        self._statistics = Statistics(enabled)
        commands = CommandRegistry()
        self._publisher = MqttPublisher(
            config.mqtt,
            node=self._node,
            drops=self._statistics,
            observed=self,
            on_failure=self._publisher_failed,
            password=_secret(config.mqtt, "mqtt", secrets),
            outbox_trouble=lambda words: self._watch.trouble("outbox", words),
            broker_trouble=lambda words: self._watch.trouble("broker", words),
            commands=commands,
            on_encoded=self._statistics.published,
        )
        self._sinks = SinkGroup(self._publisher, self._further_sinks(), self._sink_trouble)
        self._watch = NodeWatch(enabled, self._sinks, self._sinks.set_node_state)
        chosen = cameras_by_model(config)
        self._frame_memory = {model: _FrameMemory() for model in chosen}
        inference = {model: config_of_model(config, model).inference for model in chosen}
        decoders = {model: find_decoders(section) for model, section in inference.items()}
        cameras = [
            _camera(
                name,
                section,
                secrets,
                self._frame_memory[section.model],
                decoders[section.model],
                nv12=runs_on_gpu(inference[section.model]),
            )
            for name, section in enabled.items()
        ]
        self._live = {camera.camera_id: camera.live for camera in cameras}
        self._decoders = {camera.camera_id: camera.decoder for camera in cameras}
        self._lanes = {model: self._lanes_of(model, names) for model, names in chosen.items()}
        router = FrameRouter({name: self._lanes[section.model] for name, section in enabled.items()})
        tap = SnapshotTap(router)
        sink = tap if config.mqtt.commands.enabled else router
        self._cameras = CameraGroup(cameras, sink, self._watch)
        register_commands(commands, self._cameras, tap, config.mqtt.commands)
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
            lanes=self._lanes,
            cameras=chosen,
            redact=secrets.redact,
        )
        self._monitoring = Monitoring(config.metrics, self._watched)

    def run(self, stop: threading.Event) -> None:
        """Run until `stop` is set or every camera is a file that has ended.

        Raises:
            ModelError, BackendError, EngineError: The model cannot be run.
            StageFailedError: A stage failed.
        """
        words = "edge-app %s, node %s, %d cameras"
        logger.info(words, __version__, self._node, len(self._live), extra={"event": "daemon_started"})
        self._sinks.start()
        self._watch.starting()
        self._monitoring.start()
        reason = "a failure"
        try:
            self._walk(stop)
            reason = "it was asked to stop" if stop.is_set() else "every camera has ended"
        except EdgeAppError as error:
            # It may quote what a library said, and is printed and published.
            reason = error.message = self._secrets.redact(error.message)
            raise
        finally:
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
            temperature_c=self._sensors.read().hottest_celsius,
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
            },
        )

    def _further_sinks(self) -> dict[str, Sink]:
        builder = SinkBuilder(
            self._config,
            node=self._node,
            boot=self._publisher.boot,
            statistics=self._statistics,
            observed=self,
            secret=lambda section, where: _secret(section, where, self._secrets),
            trouble=self._sink_trouble,
        )
        return builder.build()

    def _sink_trouble(self, name: str, words: str | None) -> None:
        part = f"sink {name}"
        self._watch.trouble(part, None if words is None else f"{part}: {words}")

    def _lanes_of(self, model: str | None, cameras: Sequence[str]) -> FrameLanes:
        max_age_ms = config_of_model(self._config, model).inference.max_age_ms
        live = {name: self._live[name] for name in cameras}
        return FrameLanes(live, max_age_s=max_age_ms / 1e3, counts=self._statistics)

    def _walk(self, stop: threading.Event) -> None:
        detectors: dict[str | None, Detector] = {}
        try:
            if not unless_stopped(stop, "model", lambda: self._open_models(detectors, stop)):
                return
            self._sinks.set_info(self._info(detectors))
            street = Street(
                cameras=self._cameras,
                live=frozenset(name for name, live in self._live.items() if live),
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
            street.run(stop, stop_timeout_s=STREET_STOP_S)
        finally:
            if self._progress is not None:
                self._progress.stop()
            # One that hangs would be waited for; a model that is still being opened may come yet.
            for detector in [] if self._hung else list(detectors.values()):
                detector.backend.close()

    def _parts(self, street: Street) -> list[Part]:
        """Return what must get on; a camera, or a broker, that is away is not among it."""
        return [
            Part("capture", SUPERVISOR, lambda: DEADLINE_S, self._cameras.sign),
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
        for name in self._lanes:
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
            self._frame_memory[name].model = detector.memory
        return True

    def _model(self, name: str | None, detector: Detector) -> Model:
        inference = config_of_model(self._config, name).inference
        wait_s = inference.batch_wait_ms / 1e3
        return Model(self._lanes[name], detector.backend, detector.detect, wait_s, name or "")

    def _info(self, detectors: Mapping[str | None, Detector]) -> NodeInfo:
        chosen = {name: self._config.cameras[name].model for name in self._live}
        return NodeInfo(
            version=__version__,
            python=platform.python_version(),
            platform=platform.platform(),
            started_at_ns=self._started_at_ns,
            models={
                name: replace(detectors[model].backend.model, configured_name=model)
                for name, model in chosen.items()
            },
            decoders=self._decoders,
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

    def _publisher_failed(self, error: BaseException) -> None:
        self._publisher_error = error
        if self._street is not None:
            self._street.fail("publisher", error)


def _end_at_once() -> None:
    logger.critical("what hangs keeps the process from its end, which comes now")
    notify(WATCHDOG_TRIGGER)
    os._exit(EXIT_FAILURE)


class _FrameMemory:
    """What cameras decode into: a `PixelMemory` that follows the model, which comes after the cameras."""

    def __init__(self) -> None:
        self.model: PixelMemory | None = None

    def allocate(self, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], bool]:
        """Return memory that the model can read fast; see `PixelMemory`."""
        if self.model is None:
            return np.empty(shape, np.uint8), False
        return self.model.allocate(shape)


def _camera(
    name: str,
    section: CameraSection,
    secrets: SecretRegistry,
    memory: PixelMemory,
    decoders: VideoDecoders | None,
    *,
    nv12: bool,
) -> Camera:
    try:
        password = _secret(section, f"cameras.{name}", secrets)
        return create_camera(name, section, password, memory, decoders, nv12=nv12)
    except CaptureError as error:  # what this machine lacks does not come by trying again
        raise ConfigError(f"cameras.{name}: {error.message}", hint=error.hint) from error


def _secret(section: PasswordReference, where: str, secrets: SecretRegistry) -> str | None:
    password = resolve_password(section, where)
    if password is not None:
        secrets.add(password)
    return password
