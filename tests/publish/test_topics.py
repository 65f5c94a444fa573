"""The topic tree, there and back."""

from __future__ import annotations

import pytest

from edge_app.errors import PublishError
from edge_app.publish.topics import Address, Kind, Topics, everything, parse

TOPICS = Topics("edge", "attic")


def test_the_tree_is_that_of_the_contract() -> None:
    assert TOPICS.status == "edge/v1/attic/status"
    assert TOPICS.info == "edge/v1/attic/info"
    assert TOPICS.health == "edge/v1/attic/health"
    assert TOPICS.camera_status("gate") == "edge/v1/attic/camera/gate/status"
    assert TOPICS.detections("gate") == "edge/v1/attic/camera/gate/detections"
    assert everything("edge") == "edge/v1/#"


@pytest.mark.parametrize(
    ("topic", "address"),
    [
        (TOPICS.status, Address("attic", Kind.NODE_STATUS)),
        (TOPICS.info, Address("attic", Kind.INFO)),
        (TOPICS.health, Address("attic", Kind.HEALTH)),
        (TOPICS.camera_status("gate"), Address("attic", Kind.CAMERA_STATUS, "gate")),
        (TOPICS.detections("gate"), Address("attic", Kind.DETECTIONS, "gate")),
        ("edge/v2/attic/status", None),
        ("other/v1/attic/status", None),
        ("edge/v1/attic/camera/gate/events", None),
        ("edge/v1/attic/camera/gate/info", None),
        ("edge", None),
    ],
)
def test_topics_are_understood_or_passed_over(topic: str, address: Address | None) -> None:
    assert parse(topic, "edge") == address


@pytest.mark.parametrize("name", ["", "a/b", "+", "all#"])
def test_names_that_are_no_level_are_refused(name: str) -> None:
    for make in (lambda: Topics(name, "n"), lambda: Topics("r", name), lambda: TOPICS.detections(name)):
        with pytest.raises(PublishError, match="cannot be a level"):
            make()
