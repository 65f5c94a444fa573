"""What MQTT 5 says of a message beside its payload, and how large that makes it."""

from __future__ import annotations

import time
from functools import lru_cache

from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_app.publish.traffic import Answer, Message, Received


class PackedProperties(Properties):
    """What MQTT 5 says of a message beside its payload; packed once, not for each message."""

    def __init__(self, expiry_s: int | None, content_type: str, correlation: bytes | None = None) -> None:
        super().__init__(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        self.PayloadFormatIndicator = 1
        self.ContentType = content_type
        if expiry_s is not None:
            self.MessageExpiryInterval = expiry_s
        if correlation is not None:
            self.CorrelationData = correlation
        object.__setattr__(self, "packed", super().pack())  # type: ignore[no-untyped-call]

    def pack(self) -> bytes:
        """Return the bytes that were packed at first."""
        packed: bytes = vars(self)["packed"]
        return packed


_shared = lru_cache(maxsize=16)(PackedProperties)


def packed_properties(message: Message) -> PackedProperties:
    """Return what MQTT 5 says of a message; most messages share theirs with others."""
    if isinstance(message, Answer) and message.correlation is not None:
        return PackedProperties(message.expiry_s, message.content_type, message.correlation)
    return _shared(message.expiry_s, message.content_type)


def packet_bytes(message: Message, properties_bytes: int) -> int:
    """Return the size of a PUBLISH packet of MQTT 5 (OASIS, sections 2.1 and 3.3)."""
    identifier_bytes = 2 if message.qos else 0
    remaining = 2 + len(message.topic.encode()) + identifier_bytes + properties_bytes + len(message.payload)
    length_bytes = max(1, -(-remaining.bit_length() // 7))
    return 1 + length_bytes + remaining


def received_now(message: paho.MQTTMessage) -> Received:
    """Return a message that has just come, in words that do not depend on the library."""
    asked = vars(message.properties) if message.properties is not None else {}
    return Received(
        message.topic,
        bytes(message.payload),
        message.retain,
        time.time_ns(),
        asked.get("ResponseTopic"),
        asked.get("CorrelationData"),
    )
