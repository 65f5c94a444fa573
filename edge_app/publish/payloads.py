"""Messages as plain dictionaries, and as the JSON bytes that travel. Pure; `schemas/` describes each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat
from typing import Any

import numpy as np
import orjson

from edge_app.interfaces import SinkState
from edge_app.messages import (
    CameraState,
    CameraStatus,
    Detections,
    DropReason,
    ModelInfo,
    NodeInfo,
    NodeState,
)
from edge_app.publish.outbox.state import OutboxState
from edge_app.publish.schemas import NAMES

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What every message says of itself.

    Attributes:
        boot: Changes with each start of the daemon: 32 hexadecimal digits.
        seq: Number on its topic since the daemon's start; None in the will.
        published_ns: `time.monotonic_ns()` of publishing.
        published_at_ns: Unix time in nanoseconds of the same moment.
    """

    node: str
    boot: str
    id: str
    seq: int | None
    published_ns: int
    published_at_ns: int
    clock_synced: bool


@dataclass(frozen=True, slots=True)
class CameraHealth:
    """How one camera does; counters since the daemon's start, `fps` of the last seconds."""

    state: CameraState
    fps: float
    captured: int
    published: int
    dropped: Mapping[DropReason, int] = field(default_factory=dict)
    reconnects: int = 0
    candidates_invalid: int = 0
    candidates_overflow: int = 0
    decoder: str | None = None
    decoder_fallbacks: int = 0


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """How the daemon does at one moment. `cpu_percent` is of one core; None where unknown.

    `temperature_c` is that of the machine's hottest sensor, in degrees Celsius.
    """

    uptime_s: float
    queue_depth: int
    broker_reconnects: int
    rss_bytes: int | None = None
    cpu_percent: float | None = None
    cameras: Mapping[str, CameraHealth] = field(default_factory=dict)
    outbox: OutboxState | None = None
    sinks: Mapping[str, SinkState] = field(default_factory=dict)
    temperature_c: float | None = None


def encode(payload: Payload) -> bytes:
    """Return the JSON that travels (UTF-8)."""
    return orjson.dumps(payload)


def rfc3339(unix_ns: int) -> str:
    """Write Unix time in nanoseconds as RFC 3339, such as 2025-01-31T12:00:00.000001Z."""
    second, nanosecond = divmod(unix_ns, 1_000_000_000)
    return f"{_second_text(second)}.{nanosecond // 1000:06d}Z"


@lru_cache(maxsize=16)
def _second_text(unix_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s))


def detections_payload(
    stamp: Stamp, detections: Detections, model: ModelInfo, dropped_frames: int
) -> Payload:
    """Build an `edge.detections/1.1` message.

    Boxes are rounded to 0.1 px, confidences to 4 decimals, milliseconds to 3: beyond that is noise.
    """
    info, timings = detections.info, detections.timings
    media_time_s = info.media_time_s
    return envelope("edge.detections/1.1", stamp) | {
        "camera": info.camera_id,
        "replayed": False,
        "frame_id": info.frame_id,
        "captured_at": rfc3339(info.captured_at_ns),
        "media_time_s": None if media_time_s is None else round(media_time_s, 6),
        "camera_time": None if info.camera_time_ns is None else rfc3339(info.camera_time_ns),
        "image": {"width": info.width, "height": info.height},
        "model": _model(model),
        "latency_ms": {
            "capture": round(timings.capture_ms, 3),
            "preprocess": round(timings.preprocess_ms, 3),
            "inference": round(timings.inference_ms, 3),
            "postprocess": round(timings.postprocess_ms, 3),
            "total": round((stamp.published_ns - info.captured_ns) / 1e6, 3),
        },
        "dropped_frames": dropped_frames,
        "objects": _objects(detections, model.labels),
    }


def counts_payload(stamp: Stamp, camera_id: str, counts: Mapping[str, int]) -> Payload:
    """Build an `edge.counts/1.0` message."""
    return envelope("edge.counts/1.0", stamp) | {"camera": camera_id, "counts": dict(counts)}


def node_status_payload(stamp: Stamp, state: NodeState, reason: str | None) -> Payload:
    """Build an `edge.node_status/1.0` message."""
    return {**envelope("edge.node_status/1.0", stamp), "state": state.value, "reason": reason}


def camera_status_payload(stamp: Stamp, status: CameraStatus) -> Payload:
    """Build an `edge.camera_status/1.1` message."""
    sized = status.width is not None and status.height is not None
    return {
        **envelope("edge.camera_status/1.1", stamp),
        "camera": status.camera_id,
        "state": status.state.value,
        "reason": status.reason,
        "decoder": status.decoder,
        "image": {"width": status.width, "height": status.height} if sized else None,
        "reconnects": status.reconnects,
    }


def info_payload(stamp: Stamp, info: NodeInfo) -> Payload:
    """Build an `edge.info/1.2` message."""
    cameras: dict[ModelInfo, list[str]] = {}
    for camera_id, model in info.models.items():
        cameras.setdefault(model, []).append(camera_id)
    return {
        **envelope("edge.info/1.2", stamp),
        "version": info.version,
        "python": info.python,
        "platform": info.platform,
        "started_at": rfc3339(info.started_at_ns),
        "model": _whole_model(next(iter(cameras))),
        "models": [_whole_model(model) | {"cameras": names} for model, names in cameras.items()],
        "cameras": list(info.models),
        "decoders": dict(info.decoders),
        "schemas": list(NAMES),
    }


def health_payload(stamp: Stamp, health: HealthSnapshot) -> Payload:
    """Build an `edge.health/1.2` message."""
    return {
        **envelope("edge.health/1.2", stamp),
        "uptime_s": round(health.uptime_s, 3),
        "queue_depth": health.queue_depth,
        "outbox": None if health.outbox is None else _outbox(health.outbox),
        "broker_reconnects": health.broker_reconnects,
        "rss_bytes": health.rss_bytes,
        "cpu_percent": None if health.cpu_percent is None else round(health.cpu_percent, 1),
        "temperature_c": None if health.temperature_c is None else round(health.temperature_c, 1),
        "cameras": {camera_id: _camera_health(camera) for camera_id, camera in health.cameras.items()},
        "sinks": {name: _sink(sink) for name, sink in health.sinks.items()},
    }


def envelope(schema_name: str, stamp: Stamp) -> Payload:
    """Return what every message says of itself."""
    return {
        "schema": schema_name,
        "node": stamp.node,
        "boot": stamp.boot,
        "id": stamp.id,
        "seq": stamp.seq,
        "published_at": rfc3339(stamp.published_at_ns),
        "clock_synced": stamp.clock_synced,
    }


def _model(model: ModelInfo) -> Payload:
    return {
        "name": model.name,
        "sha256": model.sha256,
        "backend": model.backend,
        "precision": model.precision,
    }


def _whole_model(model: ModelInfo) -> Payload:
    return _model(model) | {
        "engine_sha256": model.engine_sha256,
        "configured_name": model.configured_name,
        "labels": list(model.labels),
    }


def _objects(detections: Detections, labels: tuple[str, ...]) -> list[Payload]:
    if not len(detections):
        return []
    # In float64, so that 12.3 is written "12.3" and not "12.300000190734863".
    boxes = detections.xyxy.astype(np.float64).round(1).tolist()
    confidences = detections.confidence.astype(np.float64).round(4).tolist()
    track_ids = repeat(None) if detections.track_id is None else detections.track_id.tolist()
    return [
        {
            "class_id": class_id,
            "label": label_of(labels, class_id),
            "confidence": confidence,
            "box_xyxy": box,
            "track_id": track_id,
        }
        for class_id, confidence, box, track_id in zip(
            detections.class_id.tolist(), confidences, boxes, track_ids, strict=False
        )
    ]


def label_of(labels: tuple[str, ...], class_id: int) -> str:
    """Return the label of a class, or a text that names its number where the model has none for it."""
    return labels[class_id] if class_id < len(labels) else f"class {class_id}"


def _outbox(state: OutboxState) -> Payload:
    return {
        "messages": state.messages,
        "bytes": state.size_bytes,
        "oldest_s": None if state.oldest_s is None else round(state.oldest_s, 1),
        "problem": state.problem,
    }


def _sink(sink: SinkState) -> Payload:
    return {
        "problem": sink.problem,
        "waiting": sink.waiting,
        "written": sink.written,
        "dropped": {reason.value: count for reason, count in sink.dropped.items()},
    }


def _camera_health(camera: CameraHealth) -> Payload:
    return {
        "state": camera.state.value,
        "fps": round(camera.fps, 2),
        "captured": camera.captured,
        "published": camera.published,
        "dropped": {reason.value: count for reason, count in camera.dropped.items()},
        "reconnects": camera.reconnects,
        "candidates": {"invalid": camera.candidates_invalid, "overflow": camera.candidates_overflow},
        "decoder": camera.decoder,
        "decoder_fallbacks": camera.decoder_fallbacks,
    }
