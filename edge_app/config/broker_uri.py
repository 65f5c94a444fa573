"""The address of an MQTT broker."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from urllib.parse import urlsplit

from edge_app.config.camera_uri import require_host
from edge_app.config.problems import shorten
from edge_app.config.secrets import holds_userinfo, redact_uri
from edge_app.errors import ConfigError

FORM = "mqtt://host[:1883] or mqtts://host[:8883]"
DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
_OTHER_NAMES = {"tcp": "mqtt", "tls": "mqtts", "ssl": "mqtts", "http": "mqtt", "https": "mqtts"}


@dataclass(frozen=True, slots=True)
class BrokerUri:
    """A broker's URI, taken apart; `encrypted` means TLS."""

    host: str
    port: int
    encrypted: bool


def parse_broker_uri(uri: str) -> BrokerUri:
    """Take a broker's URI apart.

    Raises:
        ConfigError: If it is none. The message holds neither a user name nor a password.
    """
    shown = shorten(redact_uri(uri), 100)
    if holds_userinfo(uri):
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
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError(
            f"holds more than host and port, found {shown}",
            hint="remove what follows the port; topics are mqtt.root",
        )
    return BrokerUri(str(parts.hostname), parts.port or DEFAULT_PORTS[scheme], scheme == "mqtts")
