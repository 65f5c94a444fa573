"""Messages to the service manager, by sd_notify(3): a datagram to the socket that systemd names."""

from __future__ import annotations

import logging
import os
import socket

PATIENCE_S = 0.1
"""How long the service manager may take to make room in its socket."""

logger = logging.getLogger(__name__)


def notify(*assignments: str) -> bool:
    """Send assignments such as `EXTEND_TIMEOUT_USEC=30000000`; return whether anybody was told.

    Without a service manager (no `NOTIFY_SOCKET`) nothing happens.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    # A leading @ stands for the zero byte of an abstract socket.
    path = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            # A manager that does not read, as one that hangs, holds up nothing here, least of all our end.
            sender.settimeout(PATIENCE_S)
            sender.connect(path)
            sender.sendall("\n".join(assignments).encode())
    except OSError as error:
        logger.debug("the service manager cannot be told: %s", error)
        return False
    return True
