"""Right examples of what the readers read, for mutations to begin with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from edge_app.engine.identity import DeviceFacts, EngineIdentity
from edge_app.engine.manifest import Manifest
from edge_app.engine.options import Precision, Profile
from edge_app.messages import CameraState, CameraStatus, NodeState
from edge_app.publish.payloads import (
    Stamp,
    camera_status_payload,
    detections_payload,
    encode,
    health_payload,
    info_payload,
    node_status_payload,
)
from tests.engine.models import detector
from tests.publish.parts import BASE, INFO, MODEL, Neighbours, detections

CAMERA_URIS = (
    "rtsp://viewer:{secret}@192.0.2.10:554/stream",
    "rtsp://viewer:{secret}@cam@host/a?b=c",
    "http%3a%2f%2fviewer:{secret}%40host/",
    "gst://rtspsrc location=rtsp://u:{secret}@h user-pw={secret} ! appsink",
    "scene://street?seed=1&size=320x240&fps=5&live=false&frames=10",
    "v4l2:///dev/video0?size=1280x720&fps=30&format=mjpeg",
    "csi://0?size=1280x720",
    "pictures/*.jpg",
    "rtsps://[2001:db8::1]:322/x",
)
BROKER_URIS = (
    "mqtt://u:{secret}@broker:1883",
    "mqtts://broker.example:8883",
    "wss://broker/mqtt?token={secret}",
    "ws://[::1]:80/mqtt",
    "tcp://edge:{secret}@broker",
)
COMMANDS = (
    b'snapshot/gate\n{"max_edge_px": 640, "quality": 80, "request_id": "a"}',
    b"camera/gate/disable\n{}",
    b"reload\n",
)
DESCRIPTION = b"""\
name: demo
file: model.onnx
labels: [person, car]
input: {size: [64, 64], layout: nchw, color: rgb, scale: 0.0039, mean: [0, 0, 0], fit: letterbox}
head: yolov8
figures: {map50: 0.9}
"""
SDP = b"v=0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=framerate:25.0\nm=audio 0 RTP/AVP 0\n"
PACKETS = (
    b"\0\0\0\1\x67\x42\0\x1e\0\0\1\x68\xce\0\0\1\x65\x88",
    b"\0\0\0\1\x40\1\x0c\0\0\1\x42\1\1\0\0\1\x26\1\xaf",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xc0\0\x11\x08\0\xf0\1\x40\3\1\x22\0\xff\xda\0\x0c",
)
WEBSOCKET_FRAMES = (
    b"\x82\x03abc\x89\x01p\x88\x02\x03\xe8",
    b"\x02\x01a\x80\x02bc",
    b"\x82\x7e\x00\x80" + b"x" * 128,
    b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xffabc",
)
_DEVICE = DeviceFacts("10.3.0", "12.6", "Orin", "8.7", "36.4.3")
_IDENTITY = EngineIdentity("a" * 64, _DEVICE, Precision.FP16, Profile(64, 64, 1, 2, 4))


def config_with_secrets(secret: str) -> dict[str, Any]:
    """Return a configuration that has passwords wherever people write them by mistake."""
    return {
        "cameras": {
            "gate": {"uri": f"rtsp://viewer:{secret}@192.0.2.1/x", "password": secret},
            "yard": {"uri": "rtsp://192.0.2.2/x", "username": "v", "password_file": "yard.password"},
        },
        "mqtt": {"uri": f"mqtt://edge:{secret}@broker:99999", "tls": {"insecure": True}},
        "sinks": {"cloud": {"type": "mqtt", "uri": f"ws://edge:{secret}@h/m?token={secret}"}},
    }


@lru_cache(maxsize=1)
def onnx_model() -> bytes:
    """Return a small detector with labels in its metadata."""
    model = detector()
    entry = model.metadata_props.add()
    entry.key, entry.value = "names", "{0: 'person', 1: 'car'}"
    return bytes(model.SerializeToString())


_MANIFEST = Manifest(
    name="demo",
    identity=_IDENTITY,
    plan_sha256=hashlib.sha256(b"plan").hexdigest(),
    plan_bytes=4,
    build_s=1.5,
    created_at="2026-01-01T00:00:00+00:00",
    serving={"labels": ["person"]},
)
MANIFEST_NAME = f"{_MANIFEST.stem}.json"


def manifest() -> bytes:
    """Return an engine's manifest."""
    return _MANIFEST.to_bytes()


def messages() -> list[bytes]:
    """Return messages of every kind that subscribers read: a topic, a line feed, the payload."""
    stamp = Stamp("node-1", "0" * 32, "0" * 26, 7, 1_000_000_000, 10**18, True)
    gate = f"{BASE}/camera/gate"
    payloads = {
        f"{gate}/detections": detections_payload(stamp, detections(7), MODEL, 0),
        f"{gate}/status": camera_status_payload(stamp, CameraStatus("gate", CameraState.LOST, "it is away")),
        f"{BASE}/status": node_status_payload(stamp, NodeState.ONLINE, None),
        f"{BASE}/info": info_payload(stamp, INFO),
        f"{BASE}/health": health_payload(stamp, Neighbours().health()),
    }
    return [topic.encode() + b"\n" + encode(payload) for topic, payload in payloads.items()]


def messages_of(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a mutated message for its own topic, and its payload for every other topic that is read."""
    topic, _, payload = data.partition(b"\n")
    yield topic.decode("utf-8", "replace"), payload
    for known in messages():
        yield known.partition(b"\n")[0].decode(), payload
