"""What child processes inherit: everything but variables that hold secrets, of no use to them."""

from __future__ import annotations

import os

_withheld: set[str] = set()
"""Names; for all of the process, as its environment is."""


def withhold(name: str) -> None:
    """Keep a variable from every child that is started from now on."""
    _withheld.add(name)


def child_environment(**more: str) -> dict[str, str]:
    """Return this process's environment as children get it, with `more` in it."""
    return {name: value for name, value in os.environ.items() if name not in _withheld} | more
