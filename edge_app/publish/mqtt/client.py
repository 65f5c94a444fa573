"""The library's client, made for one connection."""

from __future__ import annotations

from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_app.publish.broker import BrokerOptions, tls_context
from edge_app.publish.websocket import WebSocket

CONNECT_TIMEOUT_S = 5.0
MOST_UNCONFIRMED = 65535
"""MQTT 5, section 3.2.2.3.3: what holds where the broker names no Receive Maximum."""


def make_client(options: BrokerOptions, version: str) -> SteadyClient:
    """Return the library's client for one connection, not yet connected.

    Args:
        options: Whom to connect to, and how.
        version: "5" or "3.1.1".

    Raises:
        ConfigError: If a certificate or key file cannot be read.
    """
    five = version == "5"
    client = SteadyClient(
        CallbackAPIVersion.VERSION2,
        client_id=options.client_id,
        clean_session=None if five else not options.session_expiry_s,
        protocol=paho.MQTTv5 if five else paho.MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = CONNECT_TIMEOUT_S
    client.max_inflight_messages_set(MOST_UNCONFIRMED)  # we count; what it held back would be its own queue
    if options.username is not None or options.password is not None:
        client.username_pw_set(options.username or "", options.password)
    if options.address.path is not None:
        client.websocket = options.address.http_host, options.address.path
    if options.address.encrypted:
        client.tls_set_context(tls_context(options.tls))
        client.tls_insecure_set(options.tls.insecure)
    return client


def session_wanted(options: BrokerOptions, version: str) -> dict[str, Any]:
    """Return how MQTT 5 is told to keep our session; 3.1.1 keeps it for as long as it likes."""
    if version != "5" or not options.session_expiry_s:
        return {}
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = options.session_expiry_s
    return {"clean_start": False, "properties": properties}


class SteadyClient(paho.Client):
    """The library's client, over a WebSocket of ours where wanted, and kept alive by who drives it."""

    websocket: tuple[str, str] | None = None
    """Host and path to ask for; None: plain TCP."""

    def ask(self) -> None:
        """Ask the broker for a sign of life.

        Instead of `loop_misc`, which ends the connection by its own clock: before it has read what came while
        the process stood still, and while the question waits behind an upload.
        """
        self._send_pingreq()

    def _create_socket(self) -> Any:
        sock: Any = super()._create_socket()
        return sock if self.websocket is None else WebSocket(sock, *self.websocket, CONNECT_TIMEOUT_S)
