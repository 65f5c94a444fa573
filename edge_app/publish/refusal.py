"""Why a connection ended or never began, in words that say what to do; never with a secret in them."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from edge_app.publish.broker import BrokerAddress
from edge_app.publish.websocket import WebSocketRefusedError


class EndKind(Enum):
    """How a connection ended, as far as it matters for what to try next."""

    LEFT = auto()
    """We disconnected on purpose."""
    UNREACHABLE = auto()
    """It never came to MQTT: network, DNS or TLS."""
    CLOSED_EARLY = auto()
    """The broker hung up instead of answering our CONNECT, as some do that do not know MQTT 5."""
    NO_ANSWER = auto()
    """The broker took our CONNECT and said nothing: it stands still, or cannot make sense of MQTT 5."""
    VERSION_REFUSED = auto()
    """The broker said that it does not speak this version of MQTT."""
    REFUSED = auto()
    """The broker refused us: credentials, client id, load."""
    LOST = auto()
    """A connection that worked has ended."""


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """How a connection ended, with the reason in words."""

    kind: EndKind
    words: str


# Reason codes of MQTT 5 (OASIS, section 2.4); those of 3.1.1 arrive translated to them.
VERSION_REFUSED_CODE = 132
HEARTBEAT_CODE = 141
_CONNECT_WORDS = {
    VERSION_REFUSED_CODE: "it does not speak this version of MQTT",
    133: "it does not accept the client id; set mqtt.client_id",
    134: "bad user name or password; check mqtt.username and the password file",
    135: "not authorised: user name or password missing or wrong, or not allowed to connect; "
    "check mqtt.username and the password file",
    136: "it is not available at the moment",
    137: "it is too busy",
    138: "this client is banned",
    159: "too many connections in a short time",
}
_DISCONNECT_WORDS = {
    139: "the broker is shutting down",
    HEARTBEAT_CODE: "the broker missed our heartbeat",
    142: "another client connected with the same client id; each needs its own (mqtt.client_id)",
    152: "closed by the broker's administrator",
}


def refused(code: int, name: str) -> SessionEnd:
    """The broker answered CONNECT with a failure; `name` is the library's word for the code."""
    kind = EndKind.VERSION_REFUSED if code == VERSION_REFUSED_CODE else EndKind.REFUSED
    return SessionEnd(kind, f"the broker refused the connection: {_CONNECT_WORDS.get(code, name.lower())}")


def lost(code: int, *, from_broker: bool) -> SessionEnd:
    """A working connection ended; `code` is the broker's reason if it gave one, else the library's."""
    if from_broker:
        words = _DISCONNECT_WORDS.get(code, f"the broker ended it (reason code {code})")
    elif code == HEARTBEAT_CODE:
        words = "the broker no longer answers"
    else:
        words = "the broker hung up, or the network broke"
    return SessionEnd(EndKind.LOST, f"connection lost: {words}")


def unreachable(error: Exception, address: BrokerAddress, timeout_s: float) -> SessionEnd:
    """The way to the broker failed with `error`."""
    return SessionEnd(EndKind.UNREACHABLE, _network_words(error, address, timeout_s))


def _network_words(error: Exception, address: BrokerAddress, timeout_s: float) -> str:
    match error:
        case socket.gaierror():
            return f"the host name {address.host!r} cannot be found (DNS); check mqtt.uri"
        case ConnectionRefusedError():
            return f"nothing listens at {address} (connection refused); is the broker running?"
        case ssl.SSLCertVerificationError():
            return (
                f"the broker's TLS certificate is not trusted: {error.verify_message}; "
                "check mqtt.tls.ca_file and the host name in mqtt.uri"
            )
        case ssl.SSLError():
            return f"TLS failed ({error.reason or 'no reason given'}); is {address} the broker's TLS port?"
        case WebSocketRefusedError():
            return f"no WebSocket at {address}: {error}; check the path and the port of mqtt.uri"
        case TimeoutError():
            return f"{address} did not answer within {timeout_s:g} s"
        case ConnectionResetError() if address.encrypted:
            return f"{address} hung up during the TLS handshake; is it the broker's TLS port?"
        case OSError():
            return f"{address} cannot be reached: {error.strerror or type(error).__name__}"
    return f"unexpected {type(error).__name__} while talking to {address}"


_KEYS = re.compile(r"(?<![\w.-])mqtt(?=\.(?:uri|username|client_id|tls)\b)")


def of_section(words: str, section: str) -> str:
    """Return words with the keys of another section of the configuration than `mqtt`."""
    return _KEYS.sub(section, words)


class RepeatFilter:
    """Lets a text through once in a while: the same trouble every second is not news every second.

    Args:
        interval_s: Least time between two occurrences of one text, in seconds.
    """

    def __init__(self, interval_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._said_s: dict[str, float] = {}

    def allows(self, text: str) -> bool:
        """Return whether to say `text` now; if so, it counts as said."""
        now_s = self._clock()
        self._said_s = {said: at_s for said, at_s in self._said_s.items() if now_s - at_s < self._interval_s}
        if text in self._said_s:
            return False
        self._said_s[text] = now_s
        return True
