"""What is told of an outbox."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OutboxState:
    """What an outbox holds at a moment. `oldest_s` is the age of its oldest message in seconds."""

    messages: int
    size_bytes: int
    oldest_s: float | None
    problem: str | None
