"""An address of this machine to listen at."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from edge_app.config.problems import shorten
from edge_app.errors import ConfigError

FORM = "an address and a port, such as 127.0.0.1:9109 or '[::1]:9109'"
_PARTS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen; `host` without brackets."""

    host: str
    port: int

    @property
    def local(self) -> bool:
        """Whether nobody but this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_listen_address(text: str) -> ListenAddress:
    """Take an address apart.

    Raises:
        ConfigError: It is none.
    """
    found = _PARTS.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= 65535:
        raise ConfigError(f"is no address to listen at, found {shorten(text)}", hint=f"write {FORM}")
    return ListenAddress(found["six"] or found["host"], int(found["port"]))
