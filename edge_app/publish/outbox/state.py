"""What is told of an outbox."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OutboxState:
    """What an outbox holds at a moment.

    Attributes:
        messages: All of them.
        waiting: Those of them that are in memory, and not on disk yet.
        size_bytes: Of all.
        oldest_s: Age of the oldest on disk, in seconds.
        problem: Why messages are not kept or not taken.
    """

    messages: int
    waiting: int
    size_bytes: int
    oldest_s: float | None
    problem: str | None
