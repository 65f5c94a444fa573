"""Text of others, shown so that it cannot steer a terminal."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""C0 without the tabulator and the line feed, DEL and C1 (ISO 6429)."""


def escape_controls(text: str) -> str:
    r"""Return `text` with control characters written as \\x1b; line ends and tabulators stay."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text)
