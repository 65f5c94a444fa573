"""Subscribe to what edge-app publishes, in ten lines of Python.

    from edge_app.client import DetectionsMessage, Subscriber

    with Subscriber("mqtt://localhost", session="my-consumer") as messages:
        for message in messages:
            if isinstance(message, DetectionsMessage):
                print(message.camera, message.frame_id, [found.label for found in message.objects])

Each message comes once: what the broker brings a second time is known by its id. `missed` says how many
messages of a topic were lost on the way before one, by its number.
"""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Any
from uuid import uuid4

import orjson

from edge_app.config.models import TlsSection
from edge_app.errors import PublishError
from edge_app.publish.broker import BrokerAddress, BrokerOptions
from edge_app.publish.connection import BrokerConnection
from edge_app.publish.topics import Address, Kind, everything, parse
from edge_app.publish.traffic import Received, Traffic
from edge_app.watch.broken import UNREADABLE, BrokenMessages
from edge_app.watch.followed import SequenceCheck

MOST_ID_CHARS = 128
MOST_SEQUENCES = 10_000
"""So many topics, each with a start of its daemon, are followed; the one that was silent longest goes."""
KNOWN_IDS = 100_000
"""So many ids are remembered to know a message that comes again."""
MOST_WAITING = 10_000
SESSION_EXPIRY_S = 7 * 86400
POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class DetectedObject:
    """One object. `box_xyxy` is left, top, right, bottom in pixels of the image."""

    label: str
    class_id: int
    confidence: float
    box_xyxy: tuple[float, float, float, float]
    track_id: int | None


@dataclass(frozen=True, slots=True)
class NodeMessage:
    """What every message says; `payload` is all of it, as its schema describes.

    Attributes:
        kind: What the topic carries.
        boot: Changes with each start of the daemon; `seq` begins again with it.
        missed: Messages of this topic that were lost on the way before this one.
    """

    kind: Kind
    node: str
    camera: str | None
    boot: str
    id: str
    seq: int | None
    published_at: datetime
    clock_synced: bool
    missed: int
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DetectionsMessage(NodeMessage):
    """What was found in one frame.

    Attributes:
        replayed: Whether it comes late, or could have come before.
        size: (width, height) of the image in pixels.
    """

    replayed: bool
    frame_id: int
    captured_at: datetime
    size: tuple[int, int]
    objects: tuple[DetectedObject, ...]


class Subscriber(Traffic):
    """Reads everything that nodes publish below a root, over a connection that comes back by itself.

    Use it in a `with`, and iterate. The newest `MOST_WAITING` messages wait; if they are not read, the oldest
    go, and their topics' next messages say so by `missed`.

    Args:
        uri: mqtt://host[:1883], mqtts://host[:8883], or ws:// and wss:// with a path.
        root: First level of the topics.
        session: Name under which the broker keeps what is durable while this program is away; None: nothing.
            Each program needs its own.
        username: User name at the broker.
        password: Password at the broker.
        tls: Certificates, for an mqtts:// or wss:// URI.

    Raises:
        ConfigError: The URI or a certificate cannot be used.
    """

    subscription_qos = 1

    def __init__(
        self,
        uri: str,
        *,
        root: str = "edge",
        session: str | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: TlsSection | None = None,
    ) -> None:
        self.subscriptions = (everything(root),)
        self._root = root
        self._waiting: queue.Queue[NodeMessage] = queue.Queue(MOST_WAITING)
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._sequences: OrderedDict[tuple[str, str], SequenceCheck] = OrderedDict()
        self._broken = BrokenMessages()
        self._closed = threading.Event()
        self._failure: BaseException | None = None
        options = BrokerOptions(
            address=BrokerAddress.parse(uri),
            client_id=session or f"edge-app-client-{uuid4().hex[:12]}",
            username=username,
            password=password,
            session_expiry_s=0 if session is None else SESSION_EXPIRY_S,
            tls=tls or TlsSection(),
        )
        self._connection = BrokerConnection(options, self, self._failed)

    @property
    def broken(self) -> int:
        """Messages that could not be understood; each topic's first one is logged."""
        return len(self._broken)

    @property
    def problem(self) -> str | None:
        """Why there is no connection, in words; None while there is one."""
        return self._connection.problem

    def __enter__(self) -> Subscriber:  # noqa: PYI034 - typing.Self came with Python 3.11
        """Connect; returns at once, whether or not there is a broker."""
        self._connection.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self.close()

    def __iter__(self) -> Iterator[NodeMessage]:
        """Yield messages as they come, until `close` is called."""
        while not self._closed.is_set():
            message = self.get(POLL_S)
            if message is not None:
                yield message

    def get(self, timeout_s: float) -> NodeMessage | None:
        """Return the next message, or None if none came in time.

        Raises:
            PublishError: The connection failed for good, by a fault of this program.
        """
        if self._failure is not None:
            raise PublishError("The connection to the broker failed for good.") from self._failure
        try:
            return self._waiting.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Disconnect, and end the iteration."""
        self._closed.set()
        self._connection.stop()

    def received(self, message: Received) -> None:
        """Take one message into account; called by the connection."""
        address = parse(message.topic, self._root)
        if address is None or not message.payload:
            return
        try:
            read = self._read(message, address)
        except UNREADABLE as error:
            self._broken.count(message.topic, error)
            return
        if read is None:
            return
        try:
            self._waiting.put_nowait(read)
        except queue.Full:
            self._waiting.get_nowait()
            self._waiting.put_nowait(read)

    def _read(self, message: Received, address: Address) -> NodeMessage | None:
        """Return a message that has not come before."""
        payload = orjson.loads(message.payload)
        read = _read(address.kind, address.node, address.camera_id, payload)
        if self._is_known(read.id):
            return None
        if read.seq is None or message.retained:
            return read
        return replace(read, missed=self._missed(message.topic, read.boot, read.seq))

    def _is_known(self, message_id: str) -> bool:
        if message_id in self._ids:
            return True
        self._ids[message_id] = None
        if len(self._ids) > KNOWN_IDS:
            self._ids.popitem(last=False)
        return False

    def _missed(self, topic: str, boot: str, seq: int) -> int:
        """Return how many numbers of a topic were left out; what comes out of order was not lost."""
        sequence = self._sequences.setdefault((topic, boot), SequenceCheck())
        self._sequences.move_to_end((topic, boot))
        if len(self._sequences) > MOST_SEQUENCES:
            self._sequences.popitem(last=False)
        before = sequence.missing
        sequence.see(boot, seq)
        return sequence.missing - before

    def _failed(self, error: BaseException) -> None:
        self._failure = error


def _read(kind: Kind, node: str, camera: str | None, payload: dict[str, Any]) -> NodeMessage:
    """Return the typed message. Raises one of UNREADABLE if it is none of the contract's."""
    for name in ("id", "boot"):
        if not 0 < len(payload[name]) <= MOST_ID_CHARS or not isinstance(payload[name], str):
            raise ValueError(name)
    if not isinstance(payload["seq"], int | None):
        raise TypeError("seq")
    common = {
        "kind": kind,
        "node": node,
        "camera": camera,
        "boot": payload["boot"],
        "id": payload["id"],
        "seq": payload["seq"],
        "published_at": _time(payload["published_at"]),
        "clock_synced": payload["clock_synced"],
        "missed": 0,
        "payload": payload,
    }
    if kind is not Kind.DETECTIONS:
        return NodeMessage(**common)
    image = payload["image"]
    return DetectionsMessage(
        **common,
        replayed=payload["replayed"],
        frame_id=payload["frame_id"],
        captured_at=_time(payload["captured_at"]),
        size=(image["width"], image["height"]),
        objects=tuple(
            DetectedObject(
                found["label"],
                found["class_id"],
                found["confidence"],
                tuple(found["box_xyxy"]),
                found["track_id"],
            )
            for found in payload["objects"]
        ),
    )


def _time(text: str) -> datetime:
    # Python 3.10 does not read the Z.
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
