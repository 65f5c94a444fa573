"""From the configuration to the sinks beside the main broker."""

from __future__ import annotations

from collections.abc import Callable

from edge_app.config.models import AppConfig, JsonlSinkSection, MqttSinkSection
from edge_app.config.paths import jsonl_directory
from edge_app.config.secrets import PasswordReference
from edge_app.interfaces import Sink
from edge_app.pipeline.statistics import Statistics
from edge_app.publish.drops import DropTally
from edge_app.publish.encoders.make import encoder_of_broker, encoder_of_file
from edge_app.publish.jsonl.rotating import RotatingFile
from edge_app.publish.jsonl.sink import FileSink
from edge_app.publish.observed import Observed
from edge_app.publish.payloads import HealthSnapshot
from edge_app.publish.publisher import MqttPublisher

Trouble = Callable[[str, str | None], None]
"""Told when a sink begins to fail, with its name and in words, and with None when it works again."""


class SinkBuilder:
    """Makes the sinks of a configuration.

    Args:
        config: The configuration.
        node: Name of this node.
        boot: Identifies this start of the daemon.
        statistics: Knows what was dropped before it came to any sink.
        observed: Asked for health.
        secret: Resolves the password of a section, of which the name is given too.
        trouble: See `Trouble`.
    """

    def __init__(
        self,
        config: AppConfig,
        *,
        node: str,
        boot: str,
        statistics: Statistics,
        observed: Observed,
        secret: Callable[[PasswordReference, str], str | None],
        trouble: Trouble,
    ) -> None:
        self._config, self._node, self._boot = config, node, boot
        self._statistics, self._observed = statistics, observed
        self._secret, self._trouble = secret, trouble

    def build(self) -> dict[str, Sink]:
        """Return every enabled sink by its name, not yet started.

        Raises:
            ConfigError: A password, a URI or a certificate cannot be used.
            PublishError: A name cannot be part of a topic.
        """
        enabled = {name: section for name, section in self._config.sinks.items() if section.enabled}
        return {name: self._sink(name, section) for name, section in enabled.items()}

    def _sink(self, name: str, section: MqttSinkSection | JsonlSinkSection) -> Sink:
        tally = DropTally()
        view = _View(self._statistics, tally, self._observed)
        if isinstance(section, JsonlSinkSection):
            return self._file(name, section, tally, view)
        return MqttPublisher(
            section,
            node=self._node,
            drops=tally,
            observed=view,
            on_failure=lambda error: self._trouble(name, f"it has failed ({type(error).__name__})"),
            password=self._secret(section, f"sinks.{name}"),
            boot=self._boot,
            encoder=encoder_of_broker(section, self._node, self._boot),
            name=name,
            outbox_trouble=lambda words: self._trouble(name, words),
            broker_trouble=lambda words: self._trouble(f"{name} (broker)", words),
        )

    def _file(self, name: str, section: JsonlSinkSection, tally: DropTally, view: Observed) -> FileSink:
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
            encoder_of_file(section, self._node, self._boot),
            queue_size=section.queue_size,
            health_interval_s=section.health_interval_s,
            publish_empty=section.publish_empty,
            drops=tally,
            observed=view,
            trouble=lambda words: self._trouble(name, words),
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
