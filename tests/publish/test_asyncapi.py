"""The AsyncAPI document: what is committed is what the code says, and nothing of the contract is left out."""

from __future__ import annotations

import json
from pathlib import Path

from edge_app.config.models import MqttSection
from edge_app.publish.asyncapi import channels, document
from edge_app.publish.schemas import NAMES, REQUESTS
from edge_app.publish.topics import Kind, parse

COMMITTED = Path(__file__).parents[2] / "docs" / "asyncapi.json"


def test_the_committed_document_is_what_the_code_says() -> None:
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == document()


def test_every_schema_has_a_channel_and_every_topic_can_be_read() -> None:
    found = document()["channels"].values()
    assert {message["name"] for channel in found for message in channel["messages"].values()} == {
        *NAMES,
        *REQUESTS,
    }
    kinds = set()
    for channel in channels():
        topic = channel.address.format(root="edge", node="n", camera="c")
        address = parse(topic, "edge")
        if channel.received:
            assert address is None  # a command is nobody's business but the node's
            continue
        assert address is not None
        kinds.add(address.kind)
    assert kinds == set(Kind)


def test_expiries_are_the_defaults() -> None:
    operations = document()["operations"]
    defaults = MqttSection()
    binding = operations["publishDetections"]["bindings"]["mqtt"]
    assert binding["messageExpiryInterval"] == defaults.detections_expiry_s
    assert (
        operations["publishHealth"]["bindings"]["mqtt"]["messageExpiryInterval"]
        == 2 * defaults.health_interval_s
    )
