"""Keeps a broker connection alive: the only place in publishing that tries again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from edge_app.errors import StageFailedError
from edge_app.ops.progress import Sign
from edge_app.publish.broker import Backoff, BrokerOptions, tls_context
from edge_app.publish.mqtt.session import Leave, MqttSession
from edge_app.publish.mqtt.waker import Waker
from edge_app.publish.refusal import Cause, EndKind, RepeatFilter, SessionEnd, of_section
from edge_app.publish.traffic import Traffic
from edge_app.publish.troubles import BrokerTroubles

logger = logging.getLogger(__name__)


BROKER_THREAD = "broker"
"""The thread of the main broker's connection; those of others are named after their sections too."""

REDIRECT_PAUSE_S = 0.2
"""A broker throws away what it has not read yet when the same client connects again at once."""

HANG_UPS_UNPROVEN = 2
HANG_UPS_PROVEN = 6
SUSPICIOUS_BREAKS = 3
"""So many working connections in a row that did not last are asked about: not every broker says why."""


class VersionChoice:
    """Which version of MQTT to speak: 5, and 3.1.1 where the broker cannot; or the one that was configured.

    Some brokers refuse version 5 in words, some hang up or fall silent: then the other version is tried. One
    that has worked is given up for silence only after many failures, for a broker in trouble does the same.
    """

    def __init__(self, protocol: str) -> None:
        self._auto = protocol == "auto"
        self.version = "5" if self._auto else protocol
        self._proven = False
        self._hang_ups = 0

    def learn(self, end: SessionEnd) -> bool:
        """Take the end of a connection into account; return whether the version changed."""
        match end.kind:
            case EndKind.LOST | EndKind.LEFT | EndKind.REFUSED:
                self._proven, self._hang_ups = True, 0
            case EndKind.CLOSED_EARLY:
                self._hang_ups += 1
            case EndKind.NO_ANSWER:
                self._hang_ups += 1 if self._proven else HANG_UPS_UNPROVEN
        enough = HANG_UPS_PROVEN if self._proven else HANG_UPS_UNPROVEN
        give_up = end.kind is EndKind.VERSION_REFUSED or self._hang_ups >= enough
        if not (self._auto and give_up):
            return False
        self._proven, self._hang_ups = False, 0
        self.version = "3.1.1" if self.version == "5" else "5"
        return True


def check_certificates(options: BrokerOptions) -> None:
    """Raise ConfigError if certificate files cannot be used: not only the first attempt must find out."""
    if options.address.encrypted:
        tls_context(options.tls, options.where)


class BrokerConnection:
    """A connection that comes back by itself, run by a thread of its own. The broker may be absent.

    Args:
        options: Whom to connect to, and how.
        traffic: What goes over it.
        on_failure: Called once if the thread dies, which only a fault of the traffic or of this code can
            cause; never for anything that a broker or a network does.
        on_trouble: Called from the thread when something is wrong with a broker that is there (another client
            has our id, it refuses topics), in words, and with None when nothing is any more.

    Raises:
        ConfigError: If certificate files cannot be used.
    """

    def __init__(
        self,
        options: BrokerOptions,
        traffic: Traffic,
        on_failure: Callable[[BaseException], None] | None = None,
        on_trouble: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        check_certificates(options)
        self._options, self._traffic, self._on_failure = options, traffic, on_failure
        self._backoff = Backoff(options.reconnect_min_s, options.reconnect_max_s)
        self._choice = VersionChoice(options.protocol)
        self._repeats = RepeatFilter()
        self._troubles = BrokerTroubles(on_trouble)
        self._waker = Waker()
        self._stopping = threading.Event()
        self._nudge = threading.Event()
        """Ends the wait for the next attempt."""
        self._redirected: BrokerOptions | None = None
        self._redirecting = threading.Lock()
        self._leave_at_s = 0.0
        self._connects = 0
        self._turns = 0
        name = BROKER_THREAD if options.where == "mqtt" else f"{BROKER_THREAD} {options.where}"
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self.connected = False
        self.problem: str | None = None
        """Why there is no connection, in words; None while there is one, or before the first attempt."""

    @property
    def reconnects(self) -> int:
        """Connections made after the first."""
        return max(0, self._connects - 1)

    @property
    def version(self) -> str:
        """The version of MQTT that is spoken, or tried next: "5" or "3.1.1"."""
        return self._choice.version

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def sign(self) -> Sign:
        """Return whether it gets on. Waiting for a network, or for the next attempt, is no work."""
        return Sign(self.connected, self._turns)

    def start(self) -> None:
        """Begin connecting; returns at once."""
        self._warn_of_open_password()
        self._thread.start()

    def wake(self) -> None:
        """Say that the traffic has a message. Thread-safe, never waits."""
        self._waker.wake()

    def redirect(self, options: BrokerOptions) -> None:
        """Let go of the broker, and connect as options say if they are others; returns at once. Any thread.

        The broker that is left gets no goodbye, and so tells our will: nobody knows whether we come back to
        it, and what it keeps of us would say for ever that we are there.

        Raises:
            ConfigError: Certificate files cannot be used; the connection stays as it is.
        """
        with self._redirecting:
            if options == (self._redirected or self._options):
                return
        check_certificates(options)
        with self._redirecting:
            self._redirected = options
        self._nudge.set()
        self.wake()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Let the traffic drain for at most `timeout_s`, disconnect, end the thread; return whether it ended.

        A thread that waits for the network (DNS, a host that does not answer) is left to end by itself.
        """
        self._leave_at_s = time.monotonic() + timeout_s
        self._stopping.set()
        self._nudge.set()
        self.wake()
        if self._thread.ident is None:
            self._waker.close()
            return True
        self._thread.join(timeout_s + 1.0)
        return not self._thread.is_alive()

    def _main(self) -> None:
        try:
            while not self._stopping.is_set():
                self._nudge.clear()
                self._turn_to_other_options()
                end = self._attempt()
                if self._redirected is not None and not self._stopping.is_set():
                    self._stopping.wait(REDIRECT_PAUSE_S)
                    continue
                changed = self._choice.learn(end)
                if end.kind is EndKind.LEFT:
                    break
                wait_s = 0.0 if changed and end.kind is EndKind.VERSION_REFUSED else self._backoff.wait_s()
                self._report(end, changed)
                if not self._stopping.is_set():
                    self._nudge.wait(wait_s)
        except BaseException as error:  # whatever the cause, its end must be noticed
            logger.critical("the broker connection failed", exc_info=error)
            if self._on_failure is not None:
                self._on_failure(error)
        finally:
            self._waker.close()

    def _turn_to_other_options(self) -> None:
        """Begin anew with the options that were given meanwhile, if any were."""
        with self._redirecting:
            options, self._redirected = self._redirected, None
            self._options = options or self._options
        if options is None:
            return
        self._backoff = Backoff(options.reconnect_min_s, options.reconnect_max_s)
        self._choice = VersionChoice(options.protocol)
        self._repeats = RepeatFilter()
        self._troubles.forget()
        self._traffic.redirected()
        self.problem = None
        self._warn_of_open_password()

    def _attempt(self) -> SessionEnd:
        """Run one connection from its beginning to its end."""
        session: MqttSession | None = None
        try:
            session = MqttSession(
                self._options,
                self._choice.version,
                self._traffic,
                self._waker,
                self._leaving,
                self._repeats,
                self._troubles,
            )
            return session.run(self._begin)
        except StageFailedError:
            raise
        except Exception as error:
            # The library stumbled over what the broker sent; a new connection starts clean.
            if self._repeats.allows(f"fault {type(error).__name__}"):
                logger.exception("the MQTT library failed")
            return SessionEnd(EndKind.LOST, f"the MQTT library failed ({type(error).__name__})", Cause.LOST)
        finally:
            self.connected = False
            self._traffic.disconnected()
            if session is not None:
                session.part(self._hurries)

    def _begin(self) -> None:
        self._connects += 1
        self._backoff.connected()
        self.connected = True
        self.problem = None
        logger.info(
            "connected to the broker at %s with MQTT %s",
            self._options.address,
            self._choice.version,
            extra={"event": "broker_connected"},
        )
        self._traffic.connected()

    def _leaving(self) -> Leave | None:
        self._turns += 1
        if self._backoff.lasts:  # asked often, so this is the place to notice it
            self._troubles.lasts()
        if not self._stopping.is_set():
            return None if self._redirected is None else Leave.SILENTLY
        over = not self.connected or self._traffic.drained() or time.monotonic() >= self._leave_at_s
        return Leave.GOODBYE if over else None

    def _hurries(self) -> bool:
        """Whether it does not matter in which order the broker that is left hears of that."""
        other = self._redirected is not None and self._redirected.address != self._options.address
        return other or self._stopping.is_set()

    def _report(self, end: SessionEnd, changed: bool) -> None:
        suspicion = self._suspicion(end)
        self.problem = words = of_section(end.words + suspicion, self._options.where)
        taken = suspicion or end.cause is Cause.CLIENT_ID_IN_USE
        name = (Cause.CLIENT_ID_IN_USE if taken else end.cause).value + ("?" if suspicion else "")
        if taken:
            self._troubles.breaks(words)
        if changed:
            logger.warning("%s; trying MQTT %s", words, self._choice.version)
        elif self._repeats.allows(words):
            event = {"event": "broker_away"}
            logger.warning("no broker, trying again for ever: %s [%s]", words, name, extra=event)

    def _suspicion(self, end: SessionEnd) -> str:
        told = "client id" in end.words
        if end.kind is not EndKind.LOST or told or self._backoff.broken_soon < SUSPICIOUS_BREAKS:
            return ""
        return (
            f", and that again and again: does another client use the client id {self._options.client_id!r}? "
            "Each needs its own (mqtt.client_id)"
        )

    def _warn_of_open_password(self) -> None:
        address = self._options.address
        if self._options.password is not None and not address.encrypted and not address.local:
            logger.warning(
                "the password travels to %s unencrypted; use mqtts:// or wss:// if the broker can", address
            )
