"""The life of one connection, from CONNECT to its end."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_app.errors import StageFailedError
from edge_app.publish.broker import BrokerOptions, TidySSLSocket
from edge_app.publish.echo import EchoCheck
from edge_app.publish.mqtt.client import (
    CONNECT_TIMEOUT_S,
    MOST_UNCONFIRMED,
    SteadyClient,
    make_client,
    session_wanted,
)
from edge_app.publish.mqtt.farewell import Farewell
from edge_app.publish.mqtt.properties import packed_properties, packet_bytes, received_now
from edge_app.publish.mqtt.silence import Silence
from edge_app.publish.mqtt.waker import Waker
from edge_app.publish.refusal import EndKind, RepeatFilter, SessionEnd, lost, refused, unreachable
from edge_app.publish.traffic import Message, Traffic
from edge_app.publish.troubles import BrokerTroubles

CONNACK_TIMEOUT_S = 5.0
FAREWELL_S = 0.5
"""Longest wait for the DISCONNECT to be written, and read by the broker."""
TICK_S = 0.25
"""The traffic is asked for messages at least so often, also when nobody wakes us."""
PATIENCE = 1.5
"""Keepalives of silence that end a connection: after one the broker is asked for a sign of life."""
LEAST_PATIENCE_MS = 7500
"""A link of a mobile network that changes its cell may stand still for some seconds."""
BURST = 64
"""Most messages written before the socket is read again."""

logger = logging.getLogger(__package__)  # the log has one name for all that is here


class Leave(Enum):
    """How a connection is ended on purpose."""

    GOODBYE = auto()
    """By a DISCONNECT, with which the broker forgets our will."""
    SILENTLY = auto()
    """Without one, so that the broker tells our will."""


class MqttSession:
    """One connection, run by the calling thread.

    Args:
        options: Whom to connect to, and how.
        version: "5" or "3.1.1".
        traffic: What goes over it; called from the thread in `run`.
        waker: Ends the waiting, so that the traffic is asked for messages.
        leaving: Asked often; ends the connection once it says how.
        repeats: Which complaints to log.
        troubles: Told which topics the broker refuses.
    """

    def __init__(
        self,
        options: BrokerOptions,
        version: str,
        traffic: Traffic,
        waker: Waker,
        leaving: Callable[[], Leave | None],
        repeats: RepeatFilter,
        troubles: BrokerTroubles,
    ) -> None:
        self._options, self._version, self._traffic = options, version, traffic
        self._waker, self._leaving = waker, leaving
        self._repeats, self._troubles = repeats, troubles
        # MQTT 5 says what is refused.
        self._echo = EchoCheck(traffic.echo_topic if version != "5" else None)
        self._connected = False
        self._end: SessionEnd | None = None
        self._filters: tuple[str, ...] = ()
        self._complaint: ssl.SSLError | None = None
        self._awaiting: dict[int, Message] = {}
        self._receive_maximum = MOST_UNCONFIRMED
        self._most_bytes: int | None = None
        self._silence = Silence(options.keepalive_s)
        self._farewell: Farewell | None = None
        self._client = self._make_client()

    def run(self, on_connected: Callable[[], None]) -> SessionEnd:
        """Connect, carry the traffic, and return how it ended; `on_connected` is called once it works.

        Raises:
            StageFailedError: The traffic failed to give its next message.
        """
        address = self._options.address
        try:
            wanted = session_wanted(self._options, self._version)
            self._client.connect(address.host, address.port, self._options.keepalive_s, **wanted)
            self._serve(on_connected)
        except (OSError, UnicodeError) as error:
            self._end = self._end or unreachable(error, address, CONNECT_TIMEOUT_S)
        finally:
            self._close()
        if self._complaint is not None and not self._connected:
            return unreachable(self._complaint, address, CONNECT_TIMEOUT_S)
        if self._end is None and self._connected:
            return lost(0, from_broker=False)
        return self._end or SessionEnd(EndKind.CLOSED_EARLY, f"{address} hung up without an answer")

    def part(self, hurried: Callable[[], bool]) -> None:
        """After `run`: where it was left silently, wait until the broker knows; it may stand still for long.

        Else our will, of which it hears behind all that is still on its way, could come after what we say to
        the same broker over the next connection, as another client.

        Args:
            hurried: Asked often; True ends the waiting.
        """
        if self._farewell is not None:
            self._farewell.end_for_certain(time.monotonic() + LEAST_PATIENCE_MS / 1000, hurried)

    def _make_client(self) -> SteadyClient:
        client = make_client(self._options, self._version)
        with _fault_of_the_traffic():
            will = self._traffic.will()
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.on_socket_open = self._on_socket_open
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        return client

    def _serve(self, on_connected: Callable[[], None]) -> None:
        client, deadline_s, announced = self._client, time.monotonic() + CONNACK_TIMEOUT_S, False
        poller = select.poll()
        poller.register(self._waker, select.POLLIN)
        while (sock := client.socket()) is not None:
            if self._connected and not announced:
                announced = True
                with _fault_of_the_traffic():
                    on_connected()
                self._subscribe()
            elif not self._connected and time.monotonic() > deadline_s:
                words = f"{self._options.address} took the connection but did not answer"
                self._end = SessionEnd(EndKind.NO_ANSWER, words)
                return
            leave = self._leaving()
            if leave is not None:
                self._end = SessionEnd(EndKind.LEFT, "disconnected on purpose")
                if leave is Leave.GOODBYE:
                    self._say_goodbye()
                else:
                    self._farewell = Farewell(sock)
                return
            self._echo.look(self._repeats)
            more = self._write_messages()
            if client.socket() is None:
                return
            poller.register(sock, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
            self._exchange(poller, sock, 0.0 if more else TICK_S)
            if self._connected and client.socket() is not None and self._gone_silent(sock):
                return

    def _gone_silent(self, sock: Any) -> bool:
        """Look whether the broker lives, and ask it; called when what has come is read."""
        silent_s = self._silence.look(sock)
        if silent_s > PATIENCE * self._options.keepalive_s:
            self._end = SessionEnd(EndKind.LOST, f"the broker has been silent for {silent_s:.0f} s")
            return True
        if self._silence.asks():
            self._client.ask()
        return False

    def _exchange(self, poller: select.poll, sock: Any, timeout_s: float) -> None:
        """Wait for the socket or the waker, then let the library read and write."""
        client = self._client
        # What TLS or a WebSocket has read ahead, no `poll` will tell of.
        inside = sock.pending() if hasattr(sock, "pending") else 0
        events = dict(poller.poll(0 if inside else timeout_s * 1000))
        if self._waker.fileno() in events:
            self._waker.clear()
        sock_events = events.get(sock.fileno(), 0)
        if inside or sock_events & ~select.POLLOUT:
            self._silence.heard()
            client.loop_read()
            self._complaint = sock.complaint if isinstance(sock, TidySSLSocket) else None
        if sock_events & select.POLLOUT:
            client.loop_write()

    def _write_messages(self) -> bool:
        """Write what the traffic has while the socket takes it; return whether there may be more."""
        if not self._connected:
            return False
        for _ in range(BURST):
            if self._client.want_write() or self._client.socket() is None:
                return False
            with _fault_of_the_traffic():
                message = self._traffic.next_message(confirmable=len(self._awaiting) < self._receive_maximum)
            if message is None:
                return False
            self._publish(message)
        return True

    def _publish(self, message: Message) -> None:
        properties = packed_properties(message) if self._version == "5" else None
        if properties is not None and self._most_bytes is not None:
            size_bytes = packet_bytes(message, len(properties.pack()))
            if size_bytes > self._most_bytes:
                self._keep_back(message, f"it has {size_bytes} bytes, the broker takes {self._most_bytes}")
                return
        if message.qos:
            self._client.on_publish = self._on_publish
        info = self._client.publish(
            message.topic, message.payload, message.qos, message.retain, properties=properties
        )
        if message.qos:
            self._awaiting[info.mid] = message

    def _keep_back(self, message: Message, why: str) -> None:
        """Do not send what would end the connection, again and again."""
        if self._repeats.allows(f"too large {message.topic}"):
            logger.error("a message on %s is not sent: %s", message.topic, why)
        with _fault_of_the_traffic():
            self._traffic.too_large(message, why)

    def _subscribe(self) -> None:
        filters = (*self._traffic.subscriptions, *self._echo.subscriptions)
        if not filters:
            return
        qos, as_published = self._traffic.subscription_qos, self._traffic.retained_as_published
        if self._version == "5":
            options = SubscribeOptions(qos, retainAsPublished=as_published)
            self._client.subscribe([(topic_filter, options) for topic_filter in filters])
        else:
            self._client.subscribe([(topic_filter, qos) for topic_filter in filters])
        self._filters = filters

    def _on_subscribe(
        self, _client: paho.Client, _userdata: Any, _mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        for topic_filter, reason in zip(self._filters, reasons, strict=False):
            if reason.is_failure and self._repeats.allows(f"subscribe {topic_filter} {reason.value}"):
                words = reason.getName().lower()
                logger.error("the broker refuses our subscription to %s: %s", topic_filter, words)

    def _say_goodbye(self) -> None:
        """Write DISCONNECT; with it the broker forgets our will."""
        deadline_s = time.monotonic() + FAREWELL_S
        sock = self._client.socket()
        if not self._connected or sock is None:
            return
        farewell = Farewell(sock)
        try:
            self._client.disconnect()
            poller = select.poll()
            while (sock := self._client.socket()) is not None and time.monotonic() < deadline_s:
                poller.register(sock, select.POLLOUT)
                poller.poll(TICK_S * 1000)
                self._client.loop_write()
        finally:
            self._close()
            farewell.end(deadline_s)

    def _close(self) -> None:
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    def _on_socket_open(self, _client: paho.Client, _userdata: Any, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # A peer that vanished without a word is noticed by what it fails to acknowledge.
            patience_ms = max(LEAST_PATIENCE_MS, self._options.keepalive_s * 500)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience_ms)

    def _on_connect(
        self, _client: paho.Client, _userdata: Any, _flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        if reason.is_failure:
            self._end = refused(reason.value, reason.getName())
        else:
            self._receive_maximum = getattr(properties, "ReceiveMaximum", MOST_UNCONFIRMED)
            self._most_bytes = getattr(properties, "MaximumPacketSize", None)
            # MQTT 5 lets the broker want to hear of us more often than we meant to; 0: it does not care.
            ours_s = self._options.keepalive_s
            self._silence = Silence(min(ours_s, getattr(properties, "ServerKeepAlive", 0) or ours_s))
            self._connected = True

    def _on_disconnect(
        self,
        _client: paho.Client,
        _userdata: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Any,
    ) -> None:
        if self._connected and self._end is None:
            self._end = lost(reason.value, from_broker=flags.is_disconnect_packet_from_server)

    def _on_publish(
        self, _client: paho.Client, _userdata: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        message = self._awaiting.pop(mid, None)
        if not self._awaiting:
            self._client.on_publish = None  # for QoS 0 it would only cost: it says what `want_write` says
        if message is None:
            return
        if not reason.is_failure:
            with _fault_of_the_traffic():
                self._traffic.confirmed(message)
                self._troubles.takes(message.topic)
            self._echo.confirmed(message.topic)
            return
        words = reason.getName().lower()
        if self._repeats.allows(f"{message.topic} {reason.value}"):
            logger.error("the broker refuses topic %s: %s", message.topic, words)
        with _fault_of_the_traffic():
            if not self._traffic.refused(message, words):
                self._troubles.denies(message.topic, words)

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            if self._echo.takes(message.topic):
                return
            self._traffic.received(received_now(message))
        except Exception as error:  # raised from here, it would end the connection
            if self._repeats.allows(f"received {type(error).__name__}"):
                logger.exception("a received message was not handled")


@contextlib.contextmanager
def _fault_of_the_traffic() -> Iterator[None]:
    """Tell a fault of our own apart from trouble with broker or library, which is retried."""
    try:
        yield
    except Exception as error:
        raise StageFailedError("publish", error) from error
