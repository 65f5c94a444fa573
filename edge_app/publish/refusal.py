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


class Cause(str, Enum):
    """What keeps us from the broker, by a name that stands behind the words in the log."""

    HOST_NOT_FOUND = "host_not_found"
    NOTHING_LISTENS = "nothing_listens"
    UNREACHABLE = "unreachable"
    TLS_FAILED = "tls_failed"
    NO_WEBSOCKET = "no_websocket"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_NOT_TRUSTED = "certificate_not_trusted"
    CERTIFICATE_OF_ANOTHER_NAME = "certificate_of_another_name"
    OUR_CERTIFICATE_REFUSED = "our_certificate_refused"
    BAD_CREDENTIALS = "bad_credentials"
    NOT_AUTHORISED = "not_authorised"
    CLIENT_ID_REFUSED = "client_id_refused"
    CLIENT_ID_IN_USE = "client_id_in_use"
    REFUSED = "refused"
    NO_ANSWER = "no_answer"
    LOST = "connection_lost"


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """How a connection ended, with the reason in words and by name."""

    kind: EndKind
    words: str
    cause: Cause = Cause.NO_ANSWER


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
_CONNECT_CAUSES = {
    133: Cause.CLIENT_ID_REFUSED,
    134: Cause.BAD_CREDENTIALS,
    135: Cause.NOT_AUTHORISED,
}
TAKEN_OVER_CODE = 142
_DISCONNECT_WORDS = {
    139: "the broker is shutting down",
    HEARTBEAT_CODE: "the broker missed our heartbeat",
    TAKEN_OVER_CODE: "another client connected with the same client id; each needs its own (mqtt.client_id)",
    152: "closed by the broker's administrator",
}


def refused(code: int, name: str) -> SessionEnd:
    """The broker answered CONNECT with a failure; `name` is the library's word for the code."""
    kind = EndKind.VERSION_REFUSED if code == VERSION_REFUSED_CODE else EndKind.REFUSED
    words = f"the broker refused the connection: {_CONNECT_WORDS.get(code, name.lower())}"
    return SessionEnd(kind, words, _CONNECT_CAUSES.get(code, Cause.REFUSED))


def lost(code: int, *, from_broker: bool) -> SessionEnd:
    """A working connection ended; `code` is the broker's reason if it gave one, else the library's."""
    if from_broker:
        words = _DISCONNECT_WORDS.get(code, f"the broker ended it (reason code {code})")
    elif code == HEARTBEAT_CODE:
        words = "the broker no longer answers"
    else:
        words = "the broker hung up, or the network broke"
    cause = Cause.CLIENT_ID_IN_USE if from_broker and code == TAKEN_OVER_CODE else Cause.LOST
    return SessionEnd(EndKind.LOST, f"connection lost: {words}", cause)


# What OpenSSL finds wrong with a certificate (openssl-verification-options(1), x509_vfy.h).
_VERIFY_CAUSES = {
    9: Cause.CERTIFICATE_EXPIRED,  # not yet valid
    10: Cause.CERTIFICATE_EXPIRED,
    62: Cause.CERTIFICATE_OF_ANOTHER_NAME,
    64: Cause.CERTIFICATE_OF_ANOTHER_NAME,  # of another address
}
_VERIFY_ADVICE = {
    Cause.CERTIFICATE_EXPIRED: "the broker needs a new one, unless this machine's clock is wrong",
    Cause.CERTIFICATE_OF_ANOTHER_NAME: "check the host name in mqtt.uri",
    Cause.CERTIFICATE_NOT_TRUSTED: "check mqtt.tls.ca_file and the host name in mqtt.uri",
}


def unreachable(error: Exception, address: BrokerAddress, timeout_s: float) -> SessionEnd:
    """The way to the broker failed with `error`."""
    match error:
        case socket.gaierror():
            cause = Cause.HOST_NOT_FOUND
            words = f"the host name {address.host!r} cannot be found (DNS); check mqtt.uri"
        case ConnectionRefusedError():
            cause = Cause.NOTHING_LISTENS
            words = f"nothing listens at {address} (connection refused); is the broker running?"
        case ssl.SSLError():
            return _tls_failed(error, address)
        case WebSocketRefusedError():
            cause = Cause.NO_WEBSOCKET
            words = f"no WebSocket at {address}: {error}; check the path and the port of mqtt.uri"
        case TimeoutError():
            cause, words = Cause.UNREACHABLE, f"{address} did not answer within {timeout_s:g} s"
        case ConnectionResetError() if address.encrypted:
            cause = Cause.TLS_FAILED
            words = f"{address} hung up during the TLS handshake; is it the broker's TLS port?"
        case OSError():
            cause = Cause.UNREACHABLE
            words = f"{address} cannot be reached: {error.strerror or type(error).__name__}"
        case _:
            cause = Cause.UNREACHABLE
            words = f"unexpected {type(error).__name__} while talking to {address}"
    return SessionEnd(EndKind.UNREACHABLE, words, cause)


def _tls_failed(error: ssl.SSLError, address: BrokerAddress) -> SessionEnd:
    """Tell whose certificate is wrong, if one is: the broker's, or ours in the broker's eyes (an alert)."""
    reason = error.reason or "no reason given"
    if isinstance(error, ssl.SSLCertVerificationError):
        cause = _VERIFY_CAUSES.get(error.verify_code, Cause.CERTIFICATE_NOT_TRUSTED)
        found = f"the broker's TLS certificate is not trusted: {error.verify_message}"
        words = f"{found}; {_VERIFY_ADVICE[cause]}"
    elif "_ALERT_" in reason and any(part in reason for part in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS")):
        cause, said = Cause.OUR_CERTIFICATE_REFUSED, reason.partition("_ALERT_")[2].replace("_", " ").lower()
        words = (
            f"the broker refused our TLS certificate: {said}; check mqtt.tls.cert_file and key_file, when it "
            "expires and who signed it"
        )
    else:
        cause = Cause.TLS_FAILED
        words = f"TLS failed ({reason}); is {address} the broker's TLS port?"
    return SessionEnd(EndKind.UNREACHABLE, words, cause)


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
