"""Who carries out which command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from edge_app.messages import FrameInfo
from edge_app.publish.commands.command import Command, CommandRefusedError, Refusal

CommandT = TypeVar("CommandT", bound=Command)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A picture to publish.

    Attributes:
        info: The frame that it shows.
        jpeg: The file.
        width: Of the JPEG, in pixels.
        height: Of the JPEG, in pixels.
    """

    info: FrameInfo
    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a command.

    Attributes:
        words: What was done.
        snapshot: A picture that is published before the reply.
    """

    words: str
    snapshot: Snapshot | None = None


class CommandRegistry:
    """Handlers by the kind of command; what has none is refused as not supported."""

    def __init__(self) -> None:
        self._handlers: dict[type[Command], Callable[[Any], Outcome]] = {}

    def add(self, kind: type[CommandT], handler: Callable[[CommandT], Outcome]) -> None:
        """Let `handler` carry out every command of a kind.

        It may take seconds, and raise `CommandRefusedError`.
        """
        self._handlers[kind] = handler

    def carry_out(self, command: Command) -> Outcome:
        """Carry a command out.

        Raises:
            CommandRefusedError: It is not supported, or its handler refuses it.
        """
        handler = self._handlers.get(type(command))
        if handler is None:
            words = f"this version does not support {command.pattern!r} yet"
            raise CommandRefusedError(Refusal.NOT_SUPPORTED, words)
        return handler(command)
