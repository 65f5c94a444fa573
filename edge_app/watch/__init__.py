"""Watching any running daemon through its broker: `edge-app watch`, and the demo's table."""

from __future__ import annotations

from typing import IO, Any

from edge_app.config.models import TlsSection
from edge_app.publish.broker import BrokerAddress, BrokerOptions, Protocol


def watch(
    broker_uri: str = "mqtt://localhost:1883",
    root: str = "edge",
    seconds: float | None = None,
    *,
    username: str | None = None,
    password: str | None = None,
    tls: TlsSection | None = None,
    protocol: Protocol = "auto",
    file: IO[str] | None = None,
) -> dict[str, Any]:
    """Subscribe and show a live table until `seconds` have passed, or until Ctrl+C; return the summary.

    An absent broker is said and waited for.

    Args:
        broker_uri: mqtt://, mqtts://, ws:// or wss://host[:port], without credentials.
        root: First level of the topics to follow.
        seconds: How long; None: for ever.
        username: User name at the broker.
        password: Its password, already resolved.
        tls: Certificates, for mqtts.
        protocol: Version of MQTT, or auto.
        file: Where to write; None: standard output.

    Raises:
        ConfigError: If the URI or the certificate files cannot be used.
        PublishError: If `root` is not one level of a topic.
    """
    from rich.console import Console

    from edge_app.watch.subscriber import Subscriber, watcher_client_id
    from edge_app.watch.table import show

    options = BrokerOptions(
        BrokerAddress.parse(broker_uri),
        watcher_client_id(),
        username=username,
        password=password,
        protocol=protocol,
        reconnect_max_s=5.0,
        tls=tls or TlsSection(),
    )
    subscriber = Subscriber(options, root)
    subscriber.start()
    try:
        show(subscriber, Console(file=file), seconds)
    finally:
        subscriber.stop()
    if subscriber.failure is not None:
        raise subscriber.failure
    return subscriber.summary()
