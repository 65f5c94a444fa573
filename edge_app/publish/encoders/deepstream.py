"""NVIDIA DeepStream's minimal message schema, version 4.0: one message for each frame, objects as texts.

Format: https://docs.nvidia.com/metropolis/deepstream/dev-guide/text/DS_plugin_gst-nvmsgconv.html, and what
its library nvmsgconv writes: an object is `id|left|top|right|bottom|label`, its edges in pixels as a C++
stream writes a float; one that nobody tracks has the id -1. In DeepStream results of secondary classifiers
may follow a `#`, and the confidence only behind them. There are none here, and so it ends with the label, as
DeepStream's does.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat

from edge_app.errors import PublishError
from edge_app.messages import Detections, NodeInfo
from edge_app.publish.encoders.encoder import Encoder
from edge_app.publish.payloads import Payload, encode, label_of, rfc3339
from edge_app.publish.traffic import Message

VERSION = "4.0"
UNTRACKED = -1


class DeepStreamEncoder(Encoder):
    """For what reads DeepStream: frames only, every camera on one topic and told apart by `sensorId`.

    Args:
        topic: Where everything goes.
        detections_expiry_s: After so many seconds the broker forgets a frame's message.
    """

    def __init__(self, topic: str, *, detections_expiry_s: int) -> None:
        self._topic, self._expiry_s = topic, detections_expiry_s
        self._info: NodeInfo | None = None

    def info(self, info: NodeInfo) -> Iterable[Message]:
        """Learn the labels."""
        self._info = info
        return ()

    def detections(self, detections: Detections, dropped_frames: int) -> Message:  # noqa: ARG002 - no place
        """Return what was found in one frame."""
        if self._info is None:
            raise PublishError("Detections came before `info` told what model they are of.")
        camera_id = detections.info.camera_id
        payload = minimal_payload(detections, self._info.model_of(detections.info).labels)
        return Message(self._topic, encode(payload), expiry_s=self._expiry_s, camera=camera_id)


def minimal_payload(detections: Detections, labels: tuple[str, ...]) -> Payload:
    """Build a message of the minimal schema; `@timestamp` is when decoding of the frame finished."""
    info = detections.info
    return {
        "version": VERSION,
        "id": info.frame_id,
        "@timestamp": f"{rfc3339(info.captured_at_ns)[:-4]}Z",  # milliseconds
        "sensorId": info.camera_id,
        "objects": _objects(detections, labels),
    }


def _objects(detections: Detections, labels: tuple[str, ...]) -> list[str]:
    track_ids = repeat(UNTRACKED) if detections.track_id is None else detections.track_id.tolist()
    # A bar in a label would make two fields of it; DeepStream does not escape.
    names = (label_of(labels, class_id).replace("|", "_") for class_id in detections.class_id.tolist())
    return [
        f"{track_id}|{left:.6g}|{top:.6g}|{right:.6g}|{bottom:.6g}|{name}"
        for track_id, (left, top, right, bottom), name in zip(
            track_ids, detections.xyxy.tolist(), names, strict=False
        )
    ]
