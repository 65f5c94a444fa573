"""Whether metrics and health can be had where the configuration says, and who else can have them."""

from __future__ import annotations

import errno
import http.client
import re
import socket

from edge_app.config.listen_address import ListenAddress, parse_listen_address
from edge_app.config.models import MetricsSection
from edge_app.doctor.machine import Machine
from edge_app.doctor.result import Result, failed, ok, skipped, warning

ANSWER_S = 5.0
MOST_BYTES = 4 << 20
FIRST_FREE_PORT = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to recognise them
_NODE = re.compile(rb'^edge_app_info\{[^}]*node="([^"]*)"', re.MULTILINE)


def check_metrics(machine: Machine, section: MetricsSection, node: str) -> Result:
    """Try the address: it is free, or answered by the daemon of this node.

    Args:
        machine: Whose service would listen.
        section: Whether, and where.
        node: The name of this node.
    """
    if not section.enabled:
        return skipped("metrics.enabled is false")
    address = parse_listen_address(section.address)
    try:
        _bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return _refused(section.address, error)
        found = _who_answers(address)
        if found != node:
            return _taken(section.address, found)
        answer = f"the daemon of {node} answers at {section.address}"
    else:
        if _is_privileged(machine, address.port):
            return failed(
                f"{section.address}: the service's user may not listen below port {_first_port(machine)}",
                "Name a higher port in metrics.address.",
            )
        answer = f"{section.address} is free; no daemon runs, or it has not begun to listen"
    if address.local:
        return ok(answer)
    return warning(
        f"{answer}; other machines may read it, and nobody is asked for a password",
        "Set metrics.address to 127.0.0.1:9109 and come through a tunnel or a proxy "
        "(ssh -L 9109:127.0.0.1:9109 device); or have a firewall let Prometheus alone through.",
    )


def _bind(address: ListenAddress) -> None:
    """Have the address for a moment as the daemon does, but do not listen: it may begin meanwhile."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address.host, address.port))


def _refused(shown: str, error: OSError) -> Result:
    why = (error.strerror or str(error)).lower()
    return failed(
        f"nobody can listen at {shown}: {why}",
        "Name an address of this machine (see `ip address`) and a port from 1024 on in metrics.address.",
    )


def _taken(shown: str, node: str | None) -> Result:
    who = "another program" if node is None else f"the daemon of another node, {node},"
    return failed(
        f"{who} listens at {shown}: this daemon runs without metrics and health",
        "Name another port in metrics.address; sudo ss -ltnp says who has this one.",
    )


def _who_answers(address: ListenAddress) -> str | None:
    """Return the node whose metrics are answered there; None if they are no daemon's."""
    connection = http.client.HTTPConnection(
        _ANY.get(address.host, address.host), address.port, timeout=ANSWER_S
    )
    try:
        connection.request("GET", "/metrics")
        found = _NODE.search(connection.getresponse().read(MOST_BYTES))
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return None if found is None else found[1].decode("utf-8", "replace")


def _first_port(machine: Machine) -> int:
    text = machine.read(FIRST_FREE_PORT) or ""
    return int(text) if text.isdecimal() else 1024


def _is_privileged(machine: Machine, port: int) -> bool:
    user = machine.user()
    return port < _first_port(machine) and user is not None and user.uid != 0
