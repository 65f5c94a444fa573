"""The daemon's voice: detections live, states kept, health at an interval."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from edge_app.config.models import MqttSection
from edge_app.errors import PublishError
from edge_app.interfaces import DropObserver
from edge_app.messages import CameraStatus, Detections, DropReason, NodeState
from edge_app.publish import payloads
from edge_app.publish.broker import BrokerOptions
from edge_app.publish.connection import BrokerConnection
from edge_app.publish.counts import CountWatch
from edge_app.publish.home_assistant import BIRTH, Discovery
from edge_app.publish.lane import DetectionsLane
from edge_app.publish.outbox.make import make_outbox
from edge_app.publish.outbox.outbox import Outbox, StoredMessage
from edge_app.publish.outbox.state import OutboxState
from edge_app.publish.payloads import HealthSnapshot, NodeInfo, Payload, Stamp
from edge_app.publish.retained import RetainedStates
from edge_app.publish.stamper import Stamper
from edge_app.publish.topics import Kind, Topics, parse
from edge_app.publish.traffic import Message, Received, Traffic


class Observed(Protocol):
    """Where the publisher asks how the daemon does. Called from its thread; must return at once."""

    def dropped_frames(self, camera_id: str) -> int:
        """Return how many frames and messages of a camera were dropped since the daemon's start."""

    def health(self) -> HealthSnapshot:
        """Return how the daemon does now."""


class MqttPublisher(Traffic):
    """Publishes detections (`DetectionsSink`), camera states (`CameraObserver`) and the node's own state.

    It starts without a broker and goes on without one: states wait, the newest of each; detections are
    dropped and counted. `set_info` must come before the first `put`.

    Args:
        section: The configuration of the broker and of what is published.
        node: Name of this node in topics.
        drops: Told of every detections message that goes no further.
        observed: Asked for drop counters and health.
        on_failure: Called once if publishing fails for good, from its thread.
        password: The resolved secret of `section`.
        boot: Identifies this start of the daemon: 32 hexadecimal digits; None: a random one.
        outbox_trouble: Called when the outbox begins to fail, in words, and with None when it works again.

    Raises:
        ConfigError: If the broker's URI or certificate files cannot be used, or the outbox has no place.
        PublishError: If root or node cannot be part of a topic.
    """

    def __init__(
        self,
        section: MqttSection,
        *,
        node: str,
        drops: DropObserver,
        observed: Observed,
        on_failure: Callable[[BaseException], None],
        password: str | None = None,
        boot: str | None = None,
        outbox_trouble: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._section, self._observed, self._drops = section, observed, drops
        self._topics = Topics(section.root, node)
        self._stamper = Stamper(node, boot or uuid.uuid4().hex)
        self._lane = DetectionsLane(section.queue_size, drops)
        self._states = RetainedStates()
        self._states_lock = threading.Lock()
        self._node_state: NodeState | None = None
        self._info: NodeInfo | None = None
        self._published: Counter[str] = Counter()
        self._health_due_s = 0.0
        self._told_last_health = False
        self._stopping = False
        options = BrokerOptions.from_section(section, client_id=f"edge-app-{node}", password=password)
        self._connection = BrokerConnection(options, self, on_failure)
        self._discovery = _discovery(section, self._topics)
        if self._discovery is not None:
            self.subscriptions = (self._discovery.birth_topic,)
        self._counts: dict[str, CountWatch] = {}
        self._outbox: Outbox | None = None
        if section.delivery.detections == "durable":
            self._outbox = make_outbox(section.outbox, node, drops, self._connection.wake, outbox_trouble)

    @property
    def boot(self) -> str:
        """What identifies this start of the daemon."""
        return self._stamper.boot

    @property
    def is_connected(self) -> bool:
        """Whether there is a working connection to the broker."""
        return self._connection.connected

    @property
    def problem(self) -> str | None:
        """Why there is no connection, in words; None while there is one."""
        return self._connection.problem

    @property
    def reconnects(self) -> int:
        """Connections to the broker after the first."""
        return self._connection.reconnects

    @property
    def queue_depth(self) -> int:
        """Detections that wait to be published."""
        return len(self._lane)

    def published(self, camera_id: str) -> int:
        """Return how many detections messages of a camera were handed to the broker."""
        return self._published[camera_id]

    @property
    def outbox(self) -> OutboxState | None:
        """What waits on disk; None where nothing is to be kept."""
        return None if self._outbox is None else self._outbox.state()

    def start(self) -> None:
        """Begin connecting; returns at once, whether or not there is a broker."""
        if self._outbox is not None:
            self._outbox.start()
        self._connection.start()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Publish what waits and the state `stopping`, wait for the broker to confirm the states, disconnect.

        Takes at most `timeout_s` plus a second and a half; returns whether every state was confirmed. What is
        to be kept and could not be sent stays on disk.
        """
        deadline_s = time.monotonic() + timeout_s
        self._stopping = True
        if self._node_state is not NodeState.STOPPING:
            self.set_node_state(NodeState.STOPPING)
        self._connection.stop(timeout_s)
        self._lane.shut(DropReason.SHUTDOWN)
        if self._outbox is not None:
            self._outbox.stop(max(0.5, deadline_s - time.monotonic()))
        return self._states.settled()

    def set_node_state(self, state: NodeState, reason: str | None = None) -> None:
        """Publish what the daemon is doing; kept by the broker."""
        self._node_state = state
        self._keep(self._topics.status, lambda stamp: payloads.node_status_payload(stamp, state, reason))

    def set_info(self, info: NodeInfo) -> None:
        """Publish what runs here, the model of all detections from now on with it; kept by the broker."""
        self._info = info
        self._keep(self._topics.info, lambda stamp: payloads.info_payload(stamp, info))
        if self._discovery is not None:
            self._discovery.warn(info)
            self._counts = {name: CountWatch(len(model.labels)) for name, model in info.models.items()}
            for topic, payload in self._discovery.messages(info):
                self._states.put(Message(topic, payloads.encode(payload), qos=1, retain=True))
            self._connection.wake()

    def camera_changed(self, status: CameraStatus) -> None:
        """Publish a camera's state; kept by the broker."""
        self._keep(
            self._topics.camera_status(status.camera_id),
            lambda stamp: payloads.camera_status_payload(stamp, status),
        )

    def put(self, detections: Detections, *, wait: bool) -> None:
        """Publish detections, or drop and count them. `wait` waits for room, but never for a broker.

        While what is to be kept on disk cannot be written, detections go out live: better than not at all.
        """
        if self._info is None:
            raise PublishError("Detections came before `set_info` told what model they are of.")
        if self._discovery is not None:
            self._count(detections, self._info)
        if not len(detections) and not self._section.publish_empty:
            return
        if self._outbox is not None and self._outbox.writable:
            topic, payload = self._detections_payload(detections)
            self._outbox.put(detections.info.camera_id, topic, payload, wait=wait)
        elif self._lane.put(detections, wait=wait):
            self._connection.wake()

    def _count(self, detections: Detections, info: NodeInfo) -> None:
        camera_id = detections.info.camera_id
        counts = self._counts[camera_id].take(detections)
        if counts is None:
            return
        labels = info.models[camera_id].labels
        by_label = {labels[number]: int(counts[number]) for number in counts.nonzero()[0]}
        self._keep(
            self._topics.counts(camera_id),
            lambda stamp: payloads.counts_payload(stamp, camera_id, by_label),
        )

    # What the connection asks, on its own thread.

    def will(self) -> Message:
        """The broker says `lost` when we vanish."""
        payload = payloads.node_status_payload(
            self._stamper.unnumbered(), NodeState.LOST, "the connection to the broker broke"
        )
        return Message(self._topics.status, payloads.encode(payload), qos=1, retain=True)

    def connected(self) -> None:
        """Tell the broker all states again, then go live."""
        self._states.resend_all()
        self._lane.open()
        if self._outbox is not None:
            self._outbox.connected()

    def disconnected(self) -> None:
        """Live detections are not kept."""
        self._lane.shut(DropReason.SHUTDOWN if self._stopping else DropReason.BROKER_ABSENT)
        if self._outbox is not None:
            self._outbox.disconnected()

    def next_message(self, *, confirmable: bool) -> Message | None:
        """States first, health when it is due, live detections, then what waits on disk.

        The last health comes after all detections, and counts them.
        """
        if confirmable and (state := self._states.take()) is not None:
            return state
        now_s = time.monotonic()
        stopping = self._stopping
        last_due = not (self._told_last_health or len(self._lane))
        if last_due if stopping else now_s >= self._health_due_s:
            self._health_due_s = now_s + self._section.health_interval_s
            self._told_last_health = stopping
            return self._health_message()
        detections = self._lane.take()
        if detections is not None:
            return self._detections_message(detections)
        kept = self._outbox.take() if confirmable and self._outbox is not None else None
        if kept is not None:
            self._published[kept.camera] += 1
        return kept

    def confirmed(self, message: Message) -> None:
        """The broker has a state, or a message of the outbox."""
        if self._outbox is not None and isinstance(message, StoredMessage):
            self._outbox.confirmed(message)
        else:
            self._states.confirmed(message)

    def refused(self, message: Message, reason: str) -> None:
        """The broker does not take it: states go on, what is kept on disk is tried again later."""
        if self._outbox is not None and isinstance(message, StoredMessage):
            self._outbox.refused(message, reason)
        else:
            self._states.confirmed(message)

    def too_large(self, message: Message, reason: str) -> None:
        """The broker does not take it: states go on, detections are counted, what is kept is set aside."""
        if self._outbox is not None and isinstance(message, StoredMessage):
            self._published[message.camera] -= 1
            self._outbox.too_large(message, reason)
            return
        self._states.confirmed(message)
        address = parse(message.topic, self._topics.root)
        if address is not None and address.kind is Kind.DETECTIONS and address.camera_id is not None:
            self._published[address.camera_id] -= 1
            self._drops.dropped(address.camera_id, DropReason.TOO_LARGE)

    def received(self, message: Received) -> None:
        """Home Assistant has started: it hears of everything again."""
        if self._discovery is None or message.payload != BIRTH or self._info is None:
            return
        topics = [topic for topic, _ in self._discovery.messages(self._info)]
        self._states.resend([*topics, *(self._topics.counts(name) for name in self._info.models)])

    def drained(self) -> bool:
        """Whether nothing waits any more."""
        healthy = self._told_last_health if self._stopping else self._health_due_s > 0
        kept = self._outbox is None or self._outbox.settled()
        return not len(self._lane) and healthy and kept and self._states.settled()

    def _keep(self, topic: str, build: Callable[[Stamp], Payload]) -> None:
        with self._states_lock:  # numbering and replacing must not be overtaken by another thread
            payload = payloads.encode(build(self._stamper.next(topic)))
            self._states.put(Message(topic, payload, qos=1, retain=True))
        self._connection.wake()

    def _health_message(self) -> Message:
        topic = self._topics.health
        payload = payloads.health_payload(self._stamper.next(topic), self._observed.health())
        expiry_s = max(1, round(2 * self._section.health_interval_s))
        return Message(topic, payloads.encode(payload), expiry_s=expiry_s)

    def _detections_message(self, detections: Detections) -> Message:
        topic, payload = self._detections_payload(detections)
        self._published[detections.info.camera_id] += 1
        return Message(topic, payload, expiry_s=self._section.detections_expiry_s)

    def _detections_payload(self, detections: Detections) -> tuple[str, bytes]:
        assert self._info is not None  # noqa: S101 - `put` refuses detections before it is set
        camera_id = detections.info.camera_id
        topic = self._topics.detections(camera_id)
        payload = payloads.detections_payload(
            self._stamper.next(topic),
            detections,
            self._info.models[camera_id],
            self._observed.dropped_frames(camera_id),
        )
        return topic, payloads.encode(payload)


def _discovery(section: MqttSection, topics: Topics) -> Discovery | None:
    if not section.home_assistant.enabled:
        return None
    return Discovery(
        section.home_assistant.prefix,
        topics,
        section.home_assistant.classes,
        section.health_interval_s,
        durable=section.delivery.detections == "durable",
    )
