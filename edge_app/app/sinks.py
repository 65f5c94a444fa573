"""From the configuration to the sinks beside the main broker."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

from edge_app.config.models import JsonlSinkSection, MqttSinkSection
from edge_app.config.paths import jsonl_directory
from edge_app.interfaces import Sink
from edge_app.pipeline.statistics import Statistics
from edge_app.publish.drops import DropTally
from edge_app.publish.encoders.make import encoder_of_broker, encoder_of_file
from edge_app.publish.jsonl.rotating import RotatingFile
from edge_app.publish.jsonl.sink import FileSink
from edge_app.publish.observed import Observed
from edge_app.publish.payloads import HealthSnapshot
from edge_app.publish.publisher import MqttPublisher
from edge_app.publish.stamper import Stamper

Trouble = Callable[[str, str | None], None]
"""Told when a sink begins to fail, with its name and in words, and with None when it works again."""


class _Voice:
    """Tells of one sink's troubles until it is silenced: a thread that hangs may speak long after its end."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._lock = threading.Lock()
        self._silent = False

    def __call__(self, part: str, words: str | None) -> None:
        with self._lock:
            if not self._silent:
                self._trouble(part, words)

    def silence(self) -> None:
        with self._lock:
            self._silent = True


class SinkBuilder:
    """Makes the sinks of a configuration.

    Args:
        node: Name of this node.
        boot: Identifies this start of the daemon.
        statistics: Knows what was dropped before it came to any sink.
        observed: Asked for health.
        trouble: See `Trouble`.
    """

    def __init__(
        self,
        *,
        node: str,
        boot: str,
        statistics: Statistics,
        observed: Observed,
        trouble: Trouble,
    ) -> None:
        self._node, self._boot = node, boot
        self._statistics, self._observed, self._trouble = statistics, observed, trouble
        self._voices: weakref.WeakKeyDictionary[Sink, _Voice] = weakref.WeakKeyDictionary()
        self._stampers: dict[str, Stamper] = {}
        self._tallies: dict[str, DropTally] = {}
        """Both by name: messages of one that is made anew go on being numbered, and count its drops."""

    def make(self, name: str, section: MqttSinkSection | JsonlSinkSection, password: str | None) -> Sink:
        """Return a sink, not yet started.

        Raises:
            ConfigError: A URI or a certificate cannot be used.
            PublishError: A name cannot be part of a topic.
        """
        voice = _Voice(self._trouble)
        tally = self._tallies.setdefault(name, DropTally())
        view = _View(self._statistics, tally, self._observed)
        sink: Sink
        if isinstance(section, JsonlSinkSection):
            sink = self._file(name, section, tally, view, voice)
        else:
            sink = self._broker(name, section, password, tally, view, voice)
        self._voices[sink] = voice
        return sink

    def forget(self, name: str, sink: Sink) -> None:
        """A sink of that name has ended, and its troubles with it; what it may yet say nobody hears."""
        voice = self._voices.pop(sink, None)
        if voice is not None:
            voice.silence()
        for part in (name, f"{name} (broker)"):
            self._trouble(part, None)

    def _stamper(self, name: str) -> Stamper:
        return self._stampers.setdefault(name, Stamper(self._node, self._boot))

    def _broker(
        self,
        name: str,
        section: MqttSinkSection,
        password: str | None,
        tally: DropTally,
        view: Observed,
        trouble: Trouble,
    ) -> MqttPublisher:
        return MqttPublisher(
            section,
            node=self._node,
            drops=tally,
            observed=view,
            on_failure=lambda error: trouble(name, f"it has failed ({type(error).__name__})"),
            password=password,
            boot=self._boot,
            encoder=encoder_of_broker(section, self._node, self._boot, self._stamper(name)),
            name=name,
            outbox_trouble=lambda words: trouble(name, words),
            broker_trouble=lambda words: trouble(f"{name} (broker)", words),
        )

    def _file(
        self, name: str, section: JsonlSinkSection, tally: DropTally, view: Observed, trouble: Trouble
    ) -> FileSink:
        file = RotatingFile(
            jsonl_directory(section, f"sinks.{name}.directory"),
            name,
            max_bytes=section.max_mib << 20,
            max_files=section.max_files,
            synced=section.durability == "power",
        )
        return FileSink(
            name,
            file,
            encoder_of_file(section, self._node, self._boot, self._stamper(name)),
            queue_size=section.queue_size,
            health_interval_s=section.health_interval_s,
            publish_empty=section.publish_empty,
            drops=tally,
            observed=view,
            trouble=lambda words: trouble(name, words),
        )


class _View:
    """What one sink tells of the daemon: drops of other sinks are not its business."""

    def __init__(self, statistics: Statistics, tally: DropTally, observed: Observed) -> None:
        self._statistics, self._tally, self._observed = statistics, tally, observed

    def dropped_frames(self, camera_id: str) -> int:
        """Return what was dropped before any sink, and what this one dropped."""
        return self._statistics.dropped_before_sinks(camera_id) + self._tally.of_camera(camera_id)

    def health(self) -> HealthSnapshot:
        """Return how the daemon does now."""
        return self._observed.health()
