"""What a check finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and not as well as it could, or not for ever."""
    FAILED = "failed"
    """Something that is configured, or that this machine is for, does not work."""
    SKIPPED = "skipped"
    """It says nothing: it does not concern this machine or this configuration, or cannot be known here."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found, free of secrets.

    Attributes:
        status: How bad it is.
        found: What is there.
        fix: What to do about it; None where nothing is to be done.
    """

    status: Status
    found: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A question to the machine; `run` may take its time and may raise, but is not waited for for ever."""

    name: str
    run: Callable[[], Result]


def ok(found: str) -> Result:
    """Return a finding with nothing to do."""
    return Result(Status.OK, found)


def warning(found: str, fix: str) -> Result:
    """Return a finding that somebody should look at."""
    return Result(Status.WARNING, found, fix)


def failed(found: str, fix: str) -> Result:
    """Return a finding that keeps edge-app from working."""
    return Result(Status.FAILED, found, fix)


def skipped(why: str) -> Result:
    """Return that there is nothing to say, and why."""
    return Result(Status.SKIPPED, why)
