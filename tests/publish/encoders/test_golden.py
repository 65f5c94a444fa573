"""One life of a node, told by each encoder: exactly what stands in `tests/publish/golden`.

A payload that changes is a contract that changes: rewrite the files on purpose only,
`python -m tests.publish.encoders.test_golden`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_app.interfaces import SinkState
from edge_app.messages import (
    CameraState,
    CameraStatus,
    Detections,
    DropReason,
    FrameInfo,
    ModelInfo,
    NodeInfo,
    NodeState,
    Timings,
)
from edge_app.publish.encoders.deepstream import DeepStreamEncoder
from edge_app.publish.encoders.edge import EdgeEncoder
from edge_app.publish.encoders.encoder import Encoder
from edge_app.publish.encoders.frigate import FrigateEncoder
from edge_app.publish.outbox.state import OutboxState
from edge_app.publish.payloads import CameraHealth, HealthSnapshot, Stamp
from edge_app.publish.stamper import Stamper
from edge_app.publish.topics import Topics
from edge_app.publish.traffic import Message
from tests.publish.parts import check

GOLDEN = Path(__file__).parents[1] / "golden"
BOOT = "0a" * 16
MODEL = ModelInfo("demo", "0f" * 32, ("person", "car", "traffic light", "a|b/c"), "onnxruntime", "fp32")
INFO = NodeInfo("0.1.0", "3.11.2", "Linux x86_64", 1_700_000_000_000_000_000, {"gate": MODEL, "yard": MODEL})
STREAMING = CameraStatus("gate", CameraState.STREAMING, decoder="ffmpeg", width=1920, height=1080)
LOST = CameraStatus("gate", CameraState.LOST, reason="connection refused", reconnects=3)


class FixedStamper(Stamper):
    """Numbers as its parent does; everything else stands still."""

    def __init__(self) -> None:
        super().__init__("node-1", BOOT)

    def _stamp(self, seq: int | None) -> Stamp:
        at_ns = 1_700_000_000_123_456_789
        return Stamp("node-1", BOOT, "01HGW2N7EHJVJ4CJ999RRS2E97", seq, 1_050_000_000, at_ns, True)


def frame(frame_id: int, boxes: Sequence[tuple[float, ...]], tracks: list[int] | None = None) -> Detections:
    """Return detections of rows of left, top, right, bottom, confidence and class."""
    rows = np.array(boxes, np.float32).reshape(-1, 6)
    info = FrameInfo(
        "gate", frame_id, 1_000_000_000, 1_700_000_000_073_956_000, 1920, 1080, 3.2, frame_id / 30
    )
    return Detections(
        info,
        rows[:, :4].copy(),
        rows[:, 4].copy(),
        rows[:, 5].astype(np.int32),
        None if tracks is None else np.array(tracks, np.int64),
        Timings(3.2, 1.1, 9.8, 0.4),
    )


FOUND = [
    (441.6, 510.0, 470.4, 562.5, 0.91, 0),
    (0.0, 0.05, 1919.99, 1080.0, 0.8, 1),
    (1234.5678, 2.0, 1300.25, 4.125, 0.55, 3),
    (5.0, 6.0, 7.0, 8.0, 0.5, 9),
]


def health() -> HealthSnapshot:
    camera = CameraHealth(CameraState.STREAMING, 29.97, 10, 9, {DropReason.TOO_OLD: 1}, 2)
    sink = SinkState("/data/archive.jsonl cannot be written", 2, 7, {DropReason.FILE_UNWRITABLE: 1})
    return HealthSnapshot(
        12.3456,
        0,
        1,
        100_000_000,
        12.34,
        {"gate": camera},
        OutboxState(3, 1, 900, 4.04, None),
        {"archive": sink},
    )


def life_of(encoder: Encoder, step: Callable[[], None]) -> list[dict[str, Any]]:
    """Return everything that an encoder says, from the start to the end; `step` lets a second pass."""
    said: list[dict[str, Any]] = []

    def hear(event: str, messages: Iterable[Message | None]) -> None:
        said.extend({"event": event, **_written(message)} for message in messages if message is not None)

    def see(event: str, detections: Detections) -> None:
        step()
        hear(event, encoder.seen(detections))
        if encoder.per_frame:
            hear(event, [encoder.detections(detections, 3)])

    hear("will", [encoder.will()])
    hear("starting", encoder.node(NodeState.STARTING, None))
    hear("camera streams", encoder.camera(STREAMING))
    hear("info", encoder.info(INFO))
    hear("online", encoder.node(NodeState.ONLINE, None))
    see("four objects", frame(41, FOUND))
    see("the same", frame(42, FOUND))
    see("one of them, tracked", frame(43, FOUND[:1], [345]))
    see("none", frame(44, []))
    see("four again", frame(45, FOUND))
    hear("camera lost", encoder.camera(LOST))
    hear("degraded", encoder.node(NodeState.DEGRADED, "gate lost"))
    hear("health", [encoder.health(health())])
    hear("stopping", encoder.node(NodeState.STOPPING, "it was asked to stop"))
    return said


def _written(message: Message) -> dict[str, Any]:
    text = message.payload.decode()
    return {
        "topic": message.topic,
        "qos": message.qos,
        "retain": message.retain,
        "expiry_s": message.expiry_s,
        "content_type": message.content_type,
        "payload": json.loads(text) if text.startswith("{") else text,
    }


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def step(self) -> None:
        self.now_s += 1.0


def lives() -> dict[str, list[dict[str, Any]]]:
    clock = Clock()
    edge = EdgeEncoder(
        Topics("edge", "node-1"), FixedStamper(), detections_expiry_s=5, health_interval_s=10.0
    )
    return {
        "edge": life_of(edge, clock.step),
        "deepstream": life_of(DeepStreamEncoder("deepstream", detections_expiry_s=5), clock.step),
        "frigate": life_of(FrigateEncoder("frigate", clock), clock.step),
    }


@pytest.mark.parametrize("name", ["edge", "deepstream", "frigate"])
def test_an_encoder_says_exactly_this(name: str) -> None:
    assert lives()[name] == json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def test_our_own_messages_are_what_their_schemas_say() -> None:
    said = json.loads((GOLDEN / "edge.json").read_text(encoding="utf-8"))
    for message in said:
        check(message["payload"])
    kinds = {message["payload"]["schema"].partition("/")[0] for message in said}
    assert kinds == {
        f"edge.{kind}" for kind in ("node_status", "camera_status", "info", "health", "detections")
    }


if __name__ == "__main__":
    for name, said in lives().items():
        text = json.dumps(said, indent=1, ensure_ascii=False) + "\n"
        (GOLDEN / f"{name}.json").write_text(text, encoding="utf-8")
