"""The address of an MQTT broker."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from edge_app.config.camera_uri import require_host
from edge_app.config.problems import shorten
from edge_app.config.secrets import hide_userinfo, holds_userinfo, redact_uri
from edge_app.errors import ConfigError

FORM = "mqtt://host[:1883], mqtts://host[:8883], ws://host[:80]/mqtt or wss://host[:443]/mqtt"
DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
DEFAULT_PATH = "/mqtt"
"""Where brokers with WebSockets listen by habit; Mosquitto takes any path."""
_OTHER_NAMES = {"tcp": "mqtt", "tls": "mqtts", "ssl": "mqtts", "http": "mqtt", "https": "mqtts"}


@dataclass(frozen=True, slots=True)
class BrokerUri:
    """A broker's URI, taken apart.

    Attributes:
        encrypted: Whether by TLS.
        path: Of the WebSocket; None where MQTT travels over TCP as it is.
    """

    host: str
    port: int
    encrypted: bool
    path: str | None = None


def parse_broker_uri(uri: str) -> BrokerUri:
    """Take a broker's URI apart.

    Raises:
        ConfigError: If it is none. The message holds neither a user name nor a password.
    """
    shown = shorten(redact_uri(uri), 100)
    if holds_userinfo(uri):
        shown = shorten(hide_userinfo(uri), 100)
        hint = "remove it from the URI; set username and password_file instead"
        raise ConfigError(f"holds a user name or password, found {shown}", hint=hint)
    scheme, separator, _ = uri.partition("://")
    if not separator:
        raise ConfigError(f"has no scheme, found {shown}", hint=f"write mqtt://{shorten(redact_uri(uri))}")
    if scheme not in DEFAULT_PORTS:
        close = difflib.get_close_matches(scheme.lower(), DEFAULT_PORTS, 1)
        meant = _OTHER_NAMES.get(scheme) or (close[0] if close else None)
        hint = f"write {meant}:// in its place" if meant else f"write {FORM}"
        raise ConfigError(f"has the unknown scheme {shorten(scheme, 20)}://, found {shown}", hint=hint)
    require_host(uri, FORM)
    parts = urlsplit(uri)
    port, encrypted = parts.port or DEFAULT_PORTS[scheme], scheme in ("mqtts", "wss")
    if scheme in ("ws", "wss"):
        return BrokerUri(str(parts.hostname), port, encrypted, _websocket_path(uri, shown))
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError(
            f"holds more than host and port, found {shown}",
            hint="remove what follows the port; topics are mqtt.root",
        )
    return BrokerUri(str(parts.hostname), port, encrypted)


def _websocket_path(uri: str, shown: str) -> str:
    """Return the path of a WebSocket's URI, as it goes into the request."""
    _, _, path = uri.partition("://")[2].partition("/")
    if not re.fullmatch(r"[!-~]*", path) or re.search("[?#]", uri):
        hint = "write a path of plain ASCII characters; a token belongs into the password"
        raise ConfigError(f"holds more than host, port and path, found {shown}", hint=hint)
    return f"/{path}" if "/" in uri.partition("://")[2] else DEFAULT_PATH
