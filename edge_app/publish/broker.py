"""How to reach a broker: address, credentials, encryption and patience."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from edge_app.config.broker_uri import DEFAULT_PORTS, parse_broker_uri
from edge_app.config.listen_address import is_this_machine
from edge_app.config.models import MqttSection, TlsSection
from edge_app.errors import ConfigError

Protocol = Literal["auto", "5", "3.1.1"]
LASTING_S = 10.0
LASTING_WAITS = 1.5


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker listens, and how MQTT gets there.

    Attributes:
        encrypted: Whether by TLS.
        path: Of the WebSocket; None: TCP.
    """

    host: str
    port: int
    encrypted: bool = False
    path: str | None = None

    @classmethod
    def parse(cls, uri: str) -> BrokerAddress:
        """Return the address that a broker URI names.

        Raises:
            ConfigError: If it is none of mqtt://, mqtts://, ws:// and wss://; never repeats credentials.
        """
        try:
            parts = parse_broker_uri(uri)
        except ConfigError as error:
            raise ConfigError(f"The broker URI {error.message}.", hint=error.hint) from None
        return cls(parts.host, parts.port, parts.encrypted, parts.path)

    def __str__(self) -> str:
        return f"{self._host_text}:{self.port}"

    @property
    def http_host(self) -> str:
        """What a WebSocket's request calls it: the port only where it is not the scheme's own."""
        own = DEFAULT_PORTS["wss" if self.encrypted else "ws"]
        return self._host_text if self.port == own else str(self)

    @property
    def _host_text(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def local(self) -> bool:
        """Whether it is this machine."""
        return is_this_machine(self.host)


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """All that a connection needs to know. The password never shows in a repr."""

    address: BrokerAddress
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    protocol: Protocol = "auto"
    keepalive_s: int = 5
    reconnect_min_s: float = 0.5
    reconnect_max_s: float = 15.0
    session_expiry_s: int = 0
    """How long the broker keeps subscriptions, and what came for them, while we are away; 0: not at all."""
    tls: TlsSection = field(default_factory=TlsSection)
    where: str = "mqtt"
    """The section of the configuration that messages to people refer to."""

    @classmethod
    def from_section(
        cls, section: MqttSection, *, client_id: str, password: str | None, where: str = "mqtt"
    ) -> BrokerOptions:
        """Take the options of a configuration.

        Args:
            section: Of the broker.
            client_id: Our name at the broker, unless the section has one.
            password: The resolved secret of the section.
            where: See `BrokerOptions`.

        Raises:
            ConfigError: If the URI is not one of a broker, or holds credentials.
        """
        return cls(
            address=BrokerAddress.parse(section.uri),
            client_id=section.client_id or client_id,
            username=section.username,
            password=password,
            protocol=section.protocol,
            keepalive_s=section.keepalive_s,
            reconnect_min_s=section.reconnect_min_s,
            reconnect_max_s=section.reconnect_max_s,
            tls=section.tls,
            where=where,
        )


class TidySSLSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails: the MQTT library would leave it to the garbage collector.

    With TLS 1.3 the broker looks at our certificate after our handshake is over: what it says of it comes
    when we read, where the library would swallow it.

    Attributes:
        complaint: Why the other side gave up encryption; None while it has not.
    """

    complaint: ssl.SSLError | None = None

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Read, and remember why that failed."""
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.complaint = error
            raise

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands, or close."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def tls_context(tls: TlsSection, where: str = "mqtt") -> ssl.SSLContext:
    """Return the encryption settings: TLS 1.2 or newer, certificates checked unless told otherwise.

    Raises:
        ConfigError: If a certificate or key file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.cert_file is not None:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        found = error.strerror or type(error).__name__
        raise ConfigError(
            f"The certificate or key files for the broker cannot be used: {found}.",
            hint=f"ca_file, cert_file and key_file of {where}.tls must be PEM files, the last two a pair.",
        ) from error
    context.sslsocket_class = TidySSLSocket
    if tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Backoff:
    """Waits that double with each failure, with jitter, and start again only after a time that lasted.

    A connection that breaks at once (another client with our id, a broker in trouble) thus slows down too.

    Args:
        min_s: First wait, in seconds.
        max_s: Longest wait, in seconds.
        lasting_s: A connection of at least so many seconds counts as good; None: ten, and longer than the
            longest wait. Of two clients with one id each has a connection for as long as the other one waits.

    Attributes:
        broken_soon: How many connections in a row worked and did not last.
    """

    def __init__(
        self,
        min_s: float,
        max_s: float,
        lasting_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._min_s, self._max_s = min_s, max_s
        self._lasting_s = max(LASTING_S, LASTING_WAITS * max_s) if lasting_s is None else lasting_s
        self._clock, self._jitter = clock, jitter
        self._next_s = min_s
        self._since_s: float | None = None
        self.broken_soon = 0

    def connected(self) -> None:
        """A connection has begun."""
        self._since_s = self._clock()

    @property
    def lasts(self) -> bool:
        """Whether there is a connection that counts as good by now."""
        return self._since_s is not None and self._clock() - self._since_s >= self._lasting_s

    def wait_s(self) -> float:
        """Return how long to wait before the next attempt, in seconds: half to all of the current step.

        The longest step is never cut: two clients that throw each other out, or a password that is wrong,
        then cost no more than one attempt in it. The steps before have scattered the clients.
        """
        if self._since_s is not None:
            self.broken_soon += 1
            if self.lasts:
                self._next_s, self.broken_soon = self._min_s, 0
        self._since_s = None
        step_s = min(self._next_s, self._max_s)
        self._next_s = min(step_s * 2, self._max_s)
        return step_s if step_s == self._max_s > self._min_s else step_s * (0.5 + 0.5 * self._jitter())
