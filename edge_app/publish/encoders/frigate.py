"""Frigate's MQTT topics, as far as they can be true without a tracker: availability, cameras and counts.

Format: https://docs.frigate.video/integrations/mqtt/. Here are `<prefix>/available` (retained, also the
will), `<prefix>/<camera>/status/detect`, `<prefix>/<camera>/<label>` and `<prefix>/<camera>/all`. Frigate
counts objects that it tracks; here it is the most seen at once within a second. `<prefix>/events` and
`…/active` are about single objects over time: they become messages of `seen` once detections have track ids,
and are not here yet.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_app.messages import CameraState, CameraStatus, Detections, NodeInfo, NodeState
from edge_app.publish.counts import CountWatch
from edge_app.publish.encoders.encoder import Encoder
from edge_app.publish.traffic import Message

ALL = "all"
ONLINE, OFFLINE = "online", "offline"
_NOT_IN_A_LEVEL = re.compile(r"[/+#\0]")


class FrigateEncoder(Encoder):
    """For what reads Frigate.

    Counts are not retained, as Frigate's are not; a camera that brings no frames counts nothing.

    Args:
        prefix: Frigate's `topic_prefix`.
        clock: Seconds that only grow.
    """

    per_frame = False

    def __init__(self, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._prefix, self._clock = prefix, clock
        self._info: NodeInfo | None = None
        self._watches: dict[str, CountWatch] = {}
        self._told: dict[str, NDArray[np.int64]] = {}
        """The counts of a camera by class id, as they were told last."""

    def will(self) -> Message:
        """The broker says `offline` when we vanish."""
        return self._state("available", OFFLINE, retain=True)

    def node(self, state: NodeState, reason: str | None) -> Iterator[Message]:  # noqa: ARG002 - no place
        """Return whether we are there."""
        here = state in (NodeState.STARTING, NodeState.ONLINE, NodeState.DEGRADED)
        yield self._state("available", ONLINE if here else OFFLINE, retain=True)

    def info(self, info: NodeInfo) -> Iterator[Message]:
        """Learn the labels; a camera that is new, or has another model, sees nothing yet."""
        before, self._info = self._info, info
        for camera_id, model in info.models.items():
            if before is None or before.models.get(camera_id) != model:
                self._told.pop(camera_id, None)
                yield from self._nothing(camera_id)

    def gone(self, info: NodeInfo) -> Sequence[str]:
        """Return all topics of cameras that have gone: the last they said is `offline`, and counts of 0."""
        topics: list[str] = []
        for name in self._info.models if self._info else {}:
            if name not in info.models:
                self._told.pop(name, None)
                levels = ["status/detect", ALL, *map(_level, self._labels(name))]
                topics += [f"{self._prefix}/{name}/{level}" for level in levels]
        return topics

    def camera(self, status: CameraStatus) -> Iterator[Message]:
        """Return whether a camera brings frames; if not, it counts nothing any more."""
        streams = status.state is CameraState.STREAMING
        topic = f"{status.camera_id}/status/detect"
        yield self._state(topic, ONLINE if streams else OFFLINE, retain=True)
        if not streams and status.state is not CameraState.CONNECTING and status.camera_id in self._told:
            yield from self._nothing(status.camera_id)

    def seen(self, detections: Detections) -> Iterator[Message]:
        """Return how many objects a camera sees, of the labels where that has changed, and of all."""
        camera_id = detections.info.camera_id
        if self._info is None or self._info.models.get(camera_id) != self._info.model_of(detections.info):
            return  # its camera has gone, or was altered meanwhile
        counts = self._watches[camera_id].take(detections)
        if counts is not None:
            yield from self._counted(camera_id, counts)

    def _nothing(self, camera_id: str) -> Iterator[Message]:
        classes = len(self._labels(camera_id))
        self._watches[camera_id] = CountWatch(classes, clock=self._clock)
        yield from self._counted(camera_id, np.zeros(classes, np.int64))

    def _counted(self, camera_id: str, counts: NDArray[np.int64]) -> Iterator[Message]:
        told = self._told.get(camera_id)
        self._told[camera_id] = counts
        changed = np.ones(len(counts), np.bool_) if told is None else counts != told
        labels = self._labels(camera_id)
        for number in changed.nonzero()[0]:
            yield self._state(f"{camera_id}/{_level(labels[number])}", str(counts[number]))
        if changed.any() or told is None:
            yield self._state(f"{camera_id}/{ALL}", str(counts.sum()))

    def _labels(self, camera_id: str) -> tuple[str, ...]:
        model = None if self._info is None else self._info.models.get(camera_id)
        return () if model is None else model.labels

    def _state(self, topic: str, text: str, *, retain: bool = False) -> Message:
        kind = "application/json" if text.isdigit() else "text/plain"
        return Message(f"{self._prefix}/{topic}", text.encode(), qos=1, retain=retain, content_type=kind)


def _level(label: str) -> str:
    """Return a label as a level of a topic."""
    return _NOT_IN_A_LEVEL.sub("_", label)
