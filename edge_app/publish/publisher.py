"""The daemon's voice: detections live, states kept, health at an interval."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable

from edge_app.config.models import MqttSection
from edge_app.errors import PublishError
from edge_app.interfaces import DropObserver, SinkState
from edge_app.messages import CameraStatus, Detections, DropReason, NodeInfo, NodeState
from edge_app.ops.progress import Sign
from edge_app.publish.broker import BrokerOptions
from edge_app.publish.commands.desk import CommandDesk
from edge_app.publish.commands.registry import CommandRegistry
from edge_app.publish.connection import BrokerConnection, check_certificates
from edge_app.publish.drops import DropTally
from edge_app.publish.encoders.encoder import Encoder
from edge_app.publish.encoders.make import edge_encoder
from edge_app.publish.lane import DetectionsLane
from edge_app.publish.observed import Observed
from edge_app.publish.outbox.make import make_outbox
from edge_app.publish.outbox.outbox import Outbox
from edge_app.publish.outbox.state import OutboxState
from edge_app.publish.outbox.window import StoredMessage
from edge_app.publish.retained import RetainedStates
from edge_app.publish.stamper import Stamper
from edge_app.publish.topics import Topics
from edge_app.publish.traffic import Answer, Message, Received, Traffic


class MqttPublisher(Traffic):
    """A `Sink` at a broker: publishes detections, camera states and the node's own state.

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
        encoder: How it is said; None: our own contract, as the section wants it.
        name: Of one sink among several; None: the main broker, of the section `mqtt`.
        outbox_trouble: Called when the outbox begins to fail, in words, and with None when it works again.
        commands: Carries out commands, where the configuration allows them.
        broker_trouble: Called when a broker that is there makes trouble, in words; see `BrokerConnection`.
        on_encoded: Called when a detections message is made, with the camera and the milliseconds since its
            frame was decoded.

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
        encoder: Encoder | None = None,
        name: str | None = None,
        outbox_trouble: Callable[[str | None], None] = lambda _: None,
        broker_trouble: Callable[[str | None], None] = lambda _: None,
        commands: CommandRegistry | None = None,
        on_encoded: Callable[[str, float], None] = lambda _camera_id, _total_ms: None,
    ) -> None:
        self._section, self._observed, self._on_encoded = section, observed, on_encoded
        self.boot = boot or uuid.uuid4().hex
        """What identifies this start of the daemon."""
        self._encoder = encoder or edge_encoder(section, node, self.boot)
        self.subscriptions = self._encoder.subscriptions
        self._drops = DropTally(drops)
        self._lane = DetectionsLane(section.queue_size, self._drops)
        self._states = RetainedStates()
        self._states_lock = threading.Lock()
        self._node_state: NodeState | None = None
        self._informed = False
        self._published: Counter[str] = Counter()
        self._health_due_s = 0.0
        self._told_last_health = False
        self._stopping = False
        self._client_id = f"edge-app-{node}" if name is None else f"edge-app-{node}-{name}"
        self._where = "mqtt" if name is None else f"sinks.{name}"
        options = self.options_of(section, password)
        self._on_failure = on_failure
        self._failure: str | None = None
        self._connection = BrokerConnection(options, self, self._failed, broker_trouble)
        will = self._encoder.will()
        self.echo_topic = None if will is None else will.topic
        self._desk: CommandDesk | None = None
        if commands is not None and section.commands.enabled:
            self._desk = CommandDesk(
                commands,
                Topics(section.root, node),
                Stamper(node, self.boot),
                self._connection.wake,
                section.commands.max_per_minute,
            )
            self.subscriptions += self._desk.subscriptions
            self.retained_as_published = True
        self._outbox: Outbox | None = None
        if section.delivery.detections == "durable":
            # No name holds an @: two sinks, or nodes, never share a file.
            own = node if name is None else f"{node}@{name}"
            self._outbox = make_outbox(
                section.outbox, own, self._drops, self._connection.wake, outbox_trouble
            )

    @property
    def is_connected(self) -> bool:
        """Whether there is a working connection to the broker."""
        return self._connection.connected

    @property
    def alive(self) -> bool:
        """Whether the thread runs that publishes, with a broker or without."""
        return self._connection.alive

    def sign(self) -> Sign:
        """Return whether the thread that publishes gets on; while it is gone it does not."""
        return self._connection.sign() if self.alive else Sign(work=True, done=-1)

    @property
    def problem(self) -> str | None:
        """Why there is no connection, in words; None while there is one."""
        return self._failure or self._connection.problem

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

    def state(self) -> SinkState:
        """Return how this sink does."""
        kept = self.outbox
        return SinkState(
            problem=self.problem or (None if kept is None else kept.problem),
            waiting=self.queue_depth + (kept.messages if kept else 0),
            written=self._published.total(),
            dropped=self._drops.counts(),
        )

    @property
    def outbox(self) -> OutboxState | None:
        """What waits on disk; None where nothing is to be kept."""
        return None if self._outbox is None else self._outbox.state()

    def options_of(self, section: MqttSection, password: str | None) -> BrokerOptions:
        """Return how a section's broker is reached.

        Raises:
            ConfigError: The URI or certificate files cannot be used.
        """
        options = BrokerOptions.from_section(
            section, client_id=self._client_id, password=password, where=self._where
        )
        check_certificates(options)
        return options

    def redirect(self, section: MqttSection, options: BrokerOptions) -> None:
        """Go on with another connection, if it is to be another; what waits and is numbered stays.

        Args:
            section: In which only what concerns the connection, and `publish_empty`, differs from before.
            options: Its `options_of`.
        """
        self._section = section
        self._connection.redirect(options)

    def start(self) -> None:
        """Begin connecting; returns at once, whether or not there is a broker."""
        if self._outbox is not None:
            self._outbox.start()
        if self._desk is not None:
            self._desk.start()
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
        if self._desk is not None:
            self._desk.stop()
        self._connection.stop(timeout_s)
        self._lane.shut(DropReason.SHUTDOWN)
        if self._outbox is not None:
            self._outbox.stop(max(0.5, deadline_s - time.monotonic()))
        if self._desk is not None:
            self._desk.join(max(0.0, deadline_s + 1.5 - time.monotonic()))
        return self._states.settled()

    def set_node_state(self, state: NodeState, reason: str | None = None) -> None:
        """Publish what the daemon is doing; kept by the broker."""
        self._node_state = state
        self._keep(lambda: self._encoder.node(state, reason))

    def set_info(self, info: NodeInfo) -> None:
        """Publish what runs here, the model of all detections from now on with it; kept by the broker.

        What concerns cameras that have gone is said once more, and never again.
        """
        with self._states_lock:
            gone = self._encoder.gone(info)
            self._put_all(self._encoder.info(info))
            self._states.retire(gone)
        self._informed = True
        self._connection.wake()

    def camera_changed(self, status: CameraStatus) -> None:
        """Publish a camera's state; kept by the broker."""
        self._keep(lambda: self._encoder.camera(status))

    def put(self, detections: Detections, *, wait: bool) -> None:
        """Publish detections, or drop and count them. `wait` waits for room, but never for a broker.

        While what is to be kept on disk cannot be written, detections go out live: better than not at all.
        Without a connection they cannot; then they wait in memory, as long as there is room.
        """
        if not self._informed:
            raise PublishError("Detections came before `set_info` told what model they are of.")
        self._keep(lambda: self._encoder.seen(detections))
        if not self._encoder.per_frame or not (len(detections) or self._section.publish_empty):
            return
        if self._outbox is not None and (self._outbox.writable or not self._connection.connected):
            message = self._encoded(detections)
            self._outbox.put(detections.info.camera_id, message.topic, message.payload, wait=wait)
        elif self._lane.put(detections, wait=wait):
            self._connection.wake()

    # What the connection asks, on its own thread.

    def will(self) -> Message | None:
        """What the broker says when we vanish."""
        return self._encoder.will()

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
        if self._desk is not None:
            self._desk.disconnected()

    def redirected(self) -> None:
        """What waits on disk is tried again at once."""
        if self._outbox is not None:
            self._outbox.redirected()

    def next_message(self, *, confirmable: bool) -> Message | None:
        """States first, health when it is due, live detections, then what waits on disk.

        The last health comes after all detections, and counts them.
        """
        if confirmable and (state := self._states.take()) is not None:
            return state
        if confirmable and self._desk is not None and (answer := self._desk.take()) is not None:
            return answer
        now_s = time.monotonic()
        stopping = self._stopping
        last_due = not (self._told_last_health or len(self._lane))
        if last_due if stopping else now_s >= self._health_due_s:
            self._health_due_s = now_s + self._section.health_interval_s
            self._told_last_health = stopping
            health = self._encoder.health(self._observed.health())
            if health is not None:
                return health
        detections = self._lane.take()
        if detections is not None:
            self._published[detections.info.camera_id] += 1
            return self._encoded(detections)
        kept = self._outbox.take() if confirmable and self._outbox is not None else None
        if kept is not None:
            self._published[kept.camera] += 1
        return kept

    def confirmed(self, message: Message) -> None:
        """The broker has a state, an answer, or a message of the outbox."""
        if self._outbox is not None and isinstance(message, StoredMessage):
            self._outbox.confirmed(message)
        elif self._desk is not None and isinstance(message, Answer):
            self._desk.confirmed(message)
        else:
            self._states.confirmed(message)

    def refused(self, message: Message, reason: str) -> bool:
        """The broker does not take it: states go on, what is kept on disk is tried again later."""
        if self._outbox is not None and isinstance(message, StoredMessage):
            self._outbox.refused(message, reason)
            return True
        if self._desk is not None and isinstance(message, Answer):
            self._desk.refused(message, reason)
            return True  # whoever chose the topic must look for it
        self._states.confirmed(message)
        return False

    def too_large(self, message: Message, reason: str) -> None:
        """The broker does not take it: states go on, detections are counted, what is kept is set aside.

        Of a snapshot whoever asked for it is told.
        """
        if self._outbox is not None and isinstance(message, StoredMessage):
            self._published[message.camera] -= 1
            self._outbox.too_large(message, reason)
            return
        if self._desk is not None and isinstance(message, Answer):
            self._desk.too_large(message, reason)
            return
        self._states.confirmed(message)
        if message.camera:
            self._published[message.camera] -= 1
            self._drops.dropped(message.camera, DropReason.TOO_LARGE)

    def received(self, message: Received) -> None:
        """A command, or somebody asks for states again."""
        if self._desk is None or not self._desk.received(message):
            self._states.resend(self._encoder.wanted_again(message))

    def drained(self) -> bool:
        """Whether nothing waits any more."""
        healthy = self._told_last_health if self._stopping else self._health_due_s > 0
        kept = self._outbox is None or self._outbox.settled()
        return not len(self._lane) and healthy and kept and self._states.settled()

    def _failed(self, error: BaseException) -> None:
        self._failure = f"publishing has failed ({type(error).__name__}: {error})"
        self._on_failure(error)

    def _keep(self, states: Callable[[], Iterable[Message]]) -> None:
        with self._states_lock:  # numbering and replacing must not be overtaken by another thread
            kept = self._put_all(states())
        if kept:
            self._connection.wake()

    def _put_all(self, states: Iterable[Message]) -> bool:
        """Keep states; return whether there were any. The lock is held."""
        kept = False
        for message in states:
            self._states.put(message)
            kept = True
        return kept

    def _encoded(self, detections: Detections) -> Message:
        info = detections.info
        self._on_encoded(info.camera_id, (time.monotonic_ns() - info.captured_ns) / 1e6)
        return self._encoder.detections(detections, self._observed.dropped_frames(info.camera_id))
