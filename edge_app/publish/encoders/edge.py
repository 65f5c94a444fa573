"""Our own contract; see docs/mqtt.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edge_app.errors import PublishError
from edge_app.messages import CameraStatus, Detections, NodeInfo, NodeState
from edge_app.publish import payloads
from edge_app.publish.counts import CountWatch
from edge_app.publish.encoders.encoder import Encoder
from edge_app.publish.home_assistant import BIRTH, Discovery
from edge_app.publish.payloads import HealthSnapshot, Payload
from edge_app.publish.stamper import Stamper
from edge_app.publish.topics import Topics
from edge_app.publish.traffic import Message, Received


class EdgeEncoder(Encoder):
    """Our own contract.

    Args:
        topics: Of the node.
        stamper: Numbers the messages.
        detections_expiry_s: After so many seconds the broker forgets a frame's message.
        health_interval_s: How often health is told.
        discovery: What Home Assistant is told; None: nothing.
    """

    def __init__(
        self,
        topics: Topics,
        stamper: Stamper,
        *,
        detections_expiry_s: int,
        health_interval_s: float,
        discovery: Discovery | None = None,
    ) -> None:
        self._topics, self._stamper, self._discovery = topics, stamper, discovery
        self._detections_expiry_s = detections_expiry_s
        self._health_expiry_s = max(1, round(2 * health_interval_s))
        self._info: NodeInfo | None = None
        self._counts: dict[str, CountWatch] = {}
        self.subscriptions = () if discovery is None else (discovery.birth_topic,)

    def will(self) -> Message:
        """The broker says `lost` when we vanish."""
        stamp = self._stamper.unnumbered()
        words = "the connection to the broker broke"
        return _state(self._topics.status, payloads.node_status_payload(stamp, NodeState.LOST, words))

    def node(self, state: NodeState, reason: str | None) -> Iterator[Message]:
        """Return the node's status."""
        topic = self._topics.status
        yield _state(topic, payloads.node_status_payload(self._stamper.next(topic), state, reason))

    def info(self, info: NodeInfo) -> Iterator[Message]:
        """Return what runs here, and for Home Assistant the devices.

        Of a camera that has gone it gets empty messages: by these the broker forgets its topics, and Home
        Assistant its device.
        """
        for topic in self._discovered(self._cameras_gone(info)):
            yield Message(topic, b"", qos=1, retain=True)
        self._info = info
        topic = self._topics.info
        yield _state(topic, payloads.info_payload(self._stamper.next(topic), info))
        if self._discovery is not None:
            self._discovery.warn(info)
            # What is counted goes on where nothing changed.
            self._counts = {
                name: known
                if (known := self._counts.get(name)) and known.classes == len(model.labels)
                else CountWatch(len(model.labels))
                for name, model in info.models.items()
            }
            for topic, payload in self._discovery.messages(info):
                yield _state(topic, payload)

    def gone(self, info: NodeInfo) -> Sequence[str]:
        """Return all topics of cameras that have gone; their status is `ended` by now, and stays so."""
        cameras = self._cameras_gone(info)
        return [*self._discovered(cameras), *(self._topics.camera_status(name) for name in cameras)]

    def camera(self, status: CameraStatus) -> Iterator[Message]:
        """Return a camera's status."""
        topic = self._topics.camera_status(status.camera_id)
        yield _state(topic, payloads.camera_status_payload(self._stamper.next(topic), status))

    def seen(self, detections: Detections) -> Iterator[Message]:
        """Return for Home Assistant how many objects a camera sees, when that changes."""
        if self._discovery is None:
            return
        camera_id = detections.info.camera_id
        model = self._known().models.get(camera_id)
        if model is None or model != self._known().model_of(detections.info):
            return  # its camera has gone, or was altered meanwhile
        counts = self._counts[camera_id].take(detections)
        if counts is None:
            return
        labels = model.labels
        by_label = {labels[number]: int(counts[number]) for number in counts.nonzero()[0]}
        topic = self._topics.counts(camera_id)
        yield _state(topic, payloads.counts_payload(self._stamper.next(topic), camera_id, by_label))

    def detections(self, detections: Detections, dropped_frames: int) -> Message:
        """Return what was found in one frame."""
        camera_id = detections.info.camera_id
        topic = self._topics.detections(camera_id)
        payload = payloads.detections_payload(
            self._stamper.next(topic), detections, self._known().model_of(detections.info), dropped_frames
        )
        return Message(topic, payloads.encode(payload), expiry_s=self._detections_expiry_s, camera=camera_id)

    def health(self, health: HealthSnapshot) -> Message:
        """Return how the daemon does."""
        topic = self._topics.health
        payload = payloads.health_payload(self._stamper.next(topic), health)
        return Message(topic, payloads.encode(payload), expiry_s=self._health_expiry_s)

    def wanted_again(self, message: Received) -> Sequence[str]:
        """Home Assistant has started: it hears of everything again."""
        if self._discovery is None or message.payload != BIRTH or self._info is None:
            return ()
        topics = [topic for topic, _ in self._discovery.messages(self._info)]
        return [*topics, *(self._topics.counts(name) for name in self._info.models)]

    def _cameras_gone(self, info: NodeInfo) -> list[str]:
        return [name for name in (self._info.models if self._info else ()) if name not in info.models]

    def _discovered(self, cameras: Sequence[str]) -> list[str]:
        """Return what there is of cameras for Home Assistant: first the devices, which use the rest."""
        if self._discovery is None:
            return []
        devices = [self._discovery.camera_topic(name) for name in cameras]
        return [*devices, *(self._topics.counts(name) for name in cameras)]

    def _known(self) -> NodeInfo:
        if self._info is None:
            raise PublishError("Detections came before `set_info` told what model they are of.")
        return self._info


def _state(topic: str, payload: Payload) -> Message:
    return Message(topic, payloads.encode(payload), qos=1, retain=True)
