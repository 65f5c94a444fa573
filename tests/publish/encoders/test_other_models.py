"""A camera that gets another model, or goes, while its frames are still on their way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edge_app.messages import CameraState, CameraStatus, ModelInfo
from edge_app.publish.encoders.deepstream import DeepStreamEncoder
from edge_app.publish.encoders.edge import EdgeEncoder
from edge_app.publish.encoders.encoder import Encoder
from edge_app.publish.encoders.frigate import FrigateEncoder
from edge_app.publish.home_assistant import Discovery
from edge_app.publish.topics import Topics
from tests.publish.encoders.test_golden import INFO, MODEL, FixedStamper, frame

OTHER = ModelInfo("faces", "1f" * 32, ("face",), "onnxruntime", "fp32")
ALTERED = replace(INFO, models={"gate": OTHER, "yard": MODEL}, history={"gate": ((0, MODEL), (100, OTHER))})
GONE = replace(INFO, models={"yard": MODEL}, history={"gate": ((0, MODEL), (100, MODEL))})
CAR, FACE = (frame(99, [(1, 2, 3, 4, 0.9, 1)]), frame(100, [(1, 2, 3, 4, 0.9, 0)]))


def edge() -> EdgeEncoder:
    topics = Topics("edge", "node-1")
    discovery = Discovery("homeassistant", topics, (), 10.0, durable=False)
    return EdgeEncoder(
        topics, FixedStamper(), detections_expiry_s=5, health_interval_s=10.0, discovery=discovery
    )


def label(payload: dict[str, Any]) -> str:
    (found,) = payload["objects"]
    return str(found["label"] if isinstance(found, dict) else found.rpartition("|")[2])


@pytest.mark.parametrize("make", [edge, lambda: DeepStreamEncoder("deepstream", detections_expiry_s=5)])
def test_frames_keep_the_labels_of_the_model_that_looked_at_them(make: Callable[[], Encoder]) -> None:
    encoder = make()
    list(encoder.info(INFO))
    list(encoder.info(ALTERED))
    assert label(json.loads(encoder.detections(FACE, 0).payload)) == "face"
    assert label(json.loads(encoder.detections(CAR, 0).payload)) == "car"
    list(encoder.info(GONE))
    assert label(json.loads(encoder.detections(CAR, 0).payload)) == "car"


@pytest.mark.parametrize("make", [edge, lambda: FrigateEncoder("frigate")])
def test_late_frames_of_a_camera_are_not_counted_as_what_it_sees_now(make: Callable[[], Encoder]) -> None:
    encoder = make()
    list(encoder.info(INFO))
    assert list(encoder.seen(CAR))
    list(encoder.info(ALTERED))
    assert not list(encoder.seen(CAR))
    told = [message.payload for message in encoder.seen(FACE)]
    assert any(b"1" in payload for payload in told)
    list(encoder.info(GONE))
    assert not list(encoder.seen(CAR))


def test_all_that_frigate_heard_of_a_camera_goes_with_it() -> None:
    encoder = FrigateEncoder("frigate")
    told = {message.topic for message in encoder.info(INFO)}
    told |= {message.topic for message in encoder.camera(CameraStatus("gate", CameraState.STREAMING))}
    gone = encoder.gone(GONE)
    assert set(gone) == {topic for topic in told if topic.startswith("frigate/gate/")}
    list(encoder.info(GONE))
    assert encoder.gone(GONE) == []
