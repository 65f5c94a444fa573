"""An address of this machine to listen at."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

from edge_app.config.problems import shorten
from edge_app.errors import ConfigError

FORM = "an address and a port, such as 127.0.0.1:9109 or '[::1]:9109'"
_PARTS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]+)):(?P<port>[0-9]{1,5})")

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_ENDS_IN_NUMBER = re.compile(r"(^|\.)(0[xX][0-9A-Fa-f]*|[0-9]+)$")
_MOST_CHARS = 253


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen; `host` without brackets."""

    host: str
    port: int

    @property
    def local(self) -> bool:
        """Whether nobody but this machine can reach it."""
        return is_this_machine(self.host)


def is_this_machine(host: str) -> bool:
    """Return whether a host (IPv6 without brackets) is this machine, by its number or as `localhost`."""
    number = _number(host)
    return host.lower().rstrip(".") == "localhost" if number is None else number.is_loopback


def parse_listen_address(text: str) -> ListenAddress:
    """Take an address apart.

    Raises:
        ConfigError: It is none.
    """
    found = _PARTS.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= 65535 or not _may_be_host(found["six"], found["host"]):
        raise ConfigError(f"is no address to listen at, found {shorten(text)}", hint=f"write {FORM}")
    return ListenAddress(found["six"] or found["host"], int(found["port"]))


def _may_be_host(six: str | None, host: str) -> bool:
    """Whether it is a number of IP, or a name; a name does not end in a number (RFC 3696, section 2)."""
    if six is not None:
        return ":" in six and _number(six) is not None
    if _ENDS_IN_NUMBER.search(host):
        return _number(host) is not None
    return len(host) <= _MOST_CHARS and all(_LABEL.fullmatch(label) for label in host.split("."))


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is, 127.1 included, as connecting and listening take it."""
    try:
        if ":" not in host:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        six = ipaddress.IPv6Address(host)
    except (OSError, ValueError):
        return None
    return six.ipv4_mapped or six
