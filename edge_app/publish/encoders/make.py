"""From the configuration to an encoder."""

from __future__ import annotations

from edge_app.config.models import JsonlSinkSection, MqttSection, MqttSinkSection
from edge_app.publish.encoders.deepstream import DeepStreamEncoder
from edge_app.publish.encoders.edge import EdgeEncoder
from edge_app.publish.encoders.encoder import Encoder
from edge_app.publish.encoders.frigate import FrigateEncoder
from edge_app.publish.home_assistant import Discovery
from edge_app.publish.stamper import Stamper
from edge_app.publish.topics import Topics

FILE_ROOT = "edge"
"""Messages in files are numbered as if they had topics; nobody sees these."""


def edge_encoder(section: MqttSection, node: str, boot: str, stamper: Stamper | None = None) -> EdgeEncoder:
    """Return the encoder of our own contract at a broker; `stamper` numbers its messages, or a new one.

    Raises:
        PublishError: If root or node cannot be part of a topic.
    """
    topics = Topics(section.root, node)
    return EdgeEncoder(
        topics,
        stamper or Stamper(node, boot),
        detections_expiry_s=section.detections_expiry_s,
        health_interval_s=section.health_interval_s,
        discovery=_discovery(section, topics),
    )


def encoder_of_broker(
    section: MqttSinkSection, node: str, boot: str, stamper: Stamper | None = None
) -> Encoder:
    """Return the encoder that a further broker's section names; otherwise as `edge_encoder`."""
    match section.encoder:
        case "edge":
            return edge_encoder(section, node, boot, stamper)
        case "deepstream":
            return DeepStreamEncoder(section.foreign_topic, detections_expiry_s=section.detections_expiry_s)
        case "frigate":
            return FrigateEncoder(section.foreign_topic)


def encoder_of_file(
    section: JsonlSinkSection, node: str, boot: str, stamper: Stamper | None = None
) -> Encoder:
    """Return the encoder that a file's section names; `stamper` as in `edge_encoder`."""
    match section.encoder:
        case "edge":
            return EdgeEncoder(
                Topics(FILE_ROOT, node),
                stamper or Stamper(node, boot),
                detections_expiry_s=0,
                health_interval_s=section.health_interval_s,
            )
        case "deepstream":
            return DeepStreamEncoder(FILE_ROOT, detections_expiry_s=0)


def _discovery(section: MqttSection, topics: Topics) -> Discovery | None:
    if not section.home_assistant.enabled:
        return None
    return Discovery(
        section.home_assistant.prefix,
        topics,
        section.home_assistant.classes,
        section.health_interval_s,
        durable=section.delivery.detections == "durable",
    )
