"""What a connection to a broker carries, in words that do not depend on the MQTT library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One message on its way to the broker.

    Attributes:
        camera: Whose detections it tells; empty for all other messages.
        content_type: Told to MQTT 5 subscribers.
        expiry_s: After so many seconds the broker forgets it undelivered (MQTT 5 only); None: never.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    expiry_s: int | None = None
    content_type: str = "application/json"
    camera: str = ""


@dataclass(frozen=True, slots=True)
class Answer(Message):
    """A message that answers another one, to a topic that its sender may have chosen."""

    correlation: bytes | None = None
    """What the sender knows its request by (MQTT 5)."""


@dataclass(frozen=True, slots=True)
class Received:
    """One message from the broker. `retained` says that it was kept there from before we subscribed.

    Attributes:
        received_at_ns: Unix time in nanoseconds of its arrival.
        response_topic: Where its sender waits for an answer (MQTT 5).
        correlation: What the answer is known by (MQTT 5).
    """

    topic: str
    payload: bytes
    retained: bool
    received_at_ns: int
    response_topic: str | None = None
    correlation: bytes | None = None


class Traffic:
    """What goes over a connection; whoever uses one overrides what it needs.

    The connection's own thread makes every call, so none of them may wait. It asks for the next message
    only while it can write: what is not taken stays with the owner, who alone decides what to drop.
    """

    subscriptions: tuple[str, ...] = ()
    """Topic filters, asked for after each connect."""
    subscription_qos: int = 0
    retained_as_published: bool = False
    """MQTT 5: whether `Received.retained` also says that a message was just published to be kept."""
    echo_topic: str | None = None
    """A retained topic of ours that is read back with MQTT 3.1.1, which does not say what it refuses."""

    def will(self) -> Message | None:
        """Return what the broker shall publish when the connection breaks."""
        return None

    def connected(self) -> None:
        """A connection has begun."""

    def disconnected(self) -> None:
        """It has ended, or could not be made."""

    def redirected(self) -> None:
        """The next connection is to another broker, or as another client: it may take what was refused."""

    def next_message(self, *, confirmable: bool) -> Message | None:  # noqa: ARG002 - for those that have one
        """Return the next message to write, or None; `Connection.wake` says that there is one again.

        Args:
            confirmable: Whether it may be of QoS 1: the broker says how many of those it takes unconfirmed.
        """
        return None

    def confirmed(self, message: Message) -> None:
        """The broker has taken responsibility for a QoS 1 message."""

    def refused(self, message: Message, reason: str) -> bool:  # noqa: ARG002 - as above
        """The broker has answered a QoS 1 message with a refusal; `reason` says which.

        Return whether the owner tells people by itself.
        """
        return False

    def too_large(self, message: Message, reason: str) -> None:
        """A message has more bytes than the broker takes: it was not sent; `reason` has the figures."""

    def received(self, message: Received) -> None:
        """A message of a subscription has come. What it raises is logged, and the connection goes on."""

    def drained(self) -> bool:
        """Whether nothing is left that must be written, or confirmed, before a deliberate disconnect."""
        return True
