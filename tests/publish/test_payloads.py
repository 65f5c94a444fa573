"""Payloads, each against its schema."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import numpy as np
import pytest

from edge_app.messages import CameraState, CameraStatus, Detections, FrameInfo, NodeState, Timings
from edge_app.publish import payloads
from edge_app.publish.payloads import Stamp
from edge_app.publish.schemas import NAMES, schema
from tests.publish.parts import INFO, MODEL, Neighbours, check, strict

STAMP = Stamp(
    "node-1", "0a" * 16, "01HGW2N7EHJVJ4CJ999RRS2E97", 7, 1_050_000_000, 1_700_000_000_123_456_789, True
)


def sample() -> Detections:
    info = FrameInfo("gate", 41, 1_000_000_000, 1_700_000_000_073_456_000, 1920, 1080, 3.21987, 1.36666666666)
    return Detections(
        info,
        np.array([[12.34, 0.05, 640.06, 1080.0], [1.0, 2.0, 3.0, 4.0]], np.float32),
        np.array([0.912345, 0.5], np.float32),
        np.array([1, 9], np.int32),
        timings=Timings(3.21987, 1.1, 9.87654, 0.4),
    )


def travelled(payload: dict[str, Any]) -> dict[str, Any]:
    """Return what a subscriber reads, checked against its schema."""
    read: dict[str, Any] = json.loads(payloads.encode(payload))
    check(read)
    return read


def test_a_detections_message_is_exactly_this() -> None:
    assert travelled(payloads.detections_payload(STAMP, sample(), MODEL, 3)) == {
        "schema": "edge.detections/1.1",
        "node": "node-1",
        "boot": "0a" * 16,
        "id": "01HGW2N7EHJVJ4CJ999RRS2E97",
        "seq": 7,
        "published_at": "2023-11-14T22:13:20.123456Z",
        "clock_synced": True,
        "camera": "gate",
        "replayed": False,
        "frame_id": 41,
        "captured_at": "2023-11-14T22:13:20.073456Z",
        "media_time_s": 1.366667,
        "camera_time": None,
        "image": {"width": 1920, "height": 1080},
        "model": {"name": "demo", "sha256": "0f" * 32, "backend": "onnxruntime", "precision": "fp32"},
        "latency_ms": {
            "capture": 3.22,
            "preprocess": 1.1,
            "inference": 9.877,
            "postprocess": 0.4,
            "total": 50.0,
        },
        "dropped_frames": 3,
        "objects": [
            {
                "class_id": 1,
                "label": "car",
                "confidence": 0.9123,
                "box_xyxy": [12.3, 0.1, 640.1, 1080.0],
                "track_id": None,
            },
            {
                "class_id": 9,
                "label": "class 9",
                "confidence": 0.5,
                "box_xyxy": [1.0, 2.0, 3.0, 4.0],
                "track_id": None,
            },
        ],
    }


def test_tracks_and_unknown_media_time() -> None:
    found = replace(sample(), track_id=np.array([5, 2**40]), info=replace(sample().info, media_time_s=None))
    message = travelled(payloads.detections_payload(STAMP, found, MODEL, 0))
    assert [thing["track_id"] for thing in message["objects"]] == [5, 2**40]
    assert message["media_time_s"] is None


def test_the_cameras_own_time() -> None:
    info = replace(sample().info, camera_time_ns=1_700_000_000_123_456_789)
    message = travelled(payloads.detections_payload(STAMP, replace(sample(), info=info), MODEL, 0))
    assert message["camera_time"] == "2023-11-14T22:13:20.123456Z"


@pytest.mark.parametrize("state", list(NodeState))
def test_node_states(state: NodeState) -> None:
    assert travelled(payloads.node_status_payload(STAMP, state, "why"))["state"] == state.value


@pytest.mark.parametrize("state", list(CameraState))
def test_camera_states(state: CameraState) -> None:
    message = travelled(payloads.camera_status_payload(STAMP, CameraStatus("gate", state, "no frame")))
    assert (message["state"], message["reason"], message["image"]) == (state.value, "no frame", None)


def test_info_and_health() -> None:
    info = travelled(payloads.info_payload(STAMP, INFO))
    assert info["model"]["labels"] == ["person", "car"]
    assert info["model"]["configured_name"] is None
    assert info["schemas"] == list(NAMES)
    health = travelled(payloads.health_payload(STAMP, Neighbours().health()))
    assert health["cameras"]["gate"]["dropped"] == {"too_old": 1}


@pytest.mark.parametrize(
    ("unix_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_700_000_000_999_999_999, "2023-11-14T22:13:20.999999Z"),
        (4_102_444_800_000_001_000, "2100-01-01T00:00:00.000001Z"),
    ],
)
def test_times_keep_their_microseconds(unix_ns: int, text: str) -> None:
    assert payloads.rfc3339(unix_ns) == text


class TestSchemas:
    @pytest.mark.parametrize("name", NAMES)
    def test_each_is_valid_and_explains_every_field(self, name: str) -> None:
        document = schema(name)
        jsonschema.Draft202012Validator.check_schema(document)
        assert document["properties"]["schema"]["enum"][-1] == name
        assert document["$id"] == f"urn:edge-app:schema:{name.replace('/', ':')}"
        assert undescribed(document) == []

    def test_names_are_not_repeated(self) -> None:
        assert len({schema(name)["title"] for name in NAMES}) == len(NAMES)

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(KeyError, match=r"edge\.detections/1\.1"):
            schema("edge.other/1.0")

    def test_subscribers_may_get_more_fields_but_ours_send_none(self) -> None:
        message = {**payloads.node_status_payload(STAMP, NodeState.ONLINE, None), "later": 1}
        jsonschema.Draft202012Validator(schema("edge.node_status/1.0")).validate(message)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(strict(schema("edge.node_status/1.0"))).validate(message)


def undescribed(document: Any) -> list[str]:
    """Return the properties, at any depth, without a description."""
    if not isinstance(document, dict):
        return []
    fields = document.get("properties", {})
    missing = [name for name, field in fields.items() if not field.get("description")]
    inner = [*fields.values(), document.get("items"), document.get("additionalProperties")]
    return missing + [name for part in inner for name in undescribed(part)]
