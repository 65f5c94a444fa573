"""The commands there are, as typed values, and how a topic and a payload become one. Pure.

The payload is empty or a JSON object; `schemas/edge.command-1.0.json` and `edge.snapshot_command-1.0.json`
say the same for those who send.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, ClassVar, TypeAlias

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_PAYLOAD_BYTES = 4096
MAX_COMMAND_CHARS = 200
"""So much of a command's name is repeated in a reply."""

CameraName: TypeAlias = Annotated[str, Field(min_length=1, max_length=64)]


class Refusal(str, Enum):
    """Why a command was refused, as replies name it."""

    UNKNOWN_COMMAND = "unknown_command"
    BAD_REQUEST = "bad_request"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    BUSY = "busy"
    UNKNOWN_CAMERA = "unknown_camera"
    NOT_AVAILABLE = "not_available"
    NOT_SUPPORTED = "not_supported"
    FAILED = "failed"


class CommandRefusedError(Exception):
    """A command is not carried out; its words go to whoever sent it.

    Args:
        refusal: Why, by name.
        words: What was wrong, and what to do.
    """

    def __init__(self, refusal: Refusal, words: str) -> None:
        super().__init__(words)
        self.refusal, self.words = refusal, words


class Command(BaseModel):
    """What every command may say. Fields of the pattern come from the topic, the others from the payload."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    pattern: ClassVar[str] = ""
    """The topic below `cmd/`, with fields in braces."""

    request_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class EnableCamera(Command):
    """Connect to a camera that was disabled."""

    pattern: ClassVar[str] = "camera/{camera}/enable"
    camera: CameraName


class DisableCamera(Command):
    """Let go of a camera until it is enabled, or the daemon is started again."""

    pattern: ClassVar[str] = "camera/{camera}/disable"
    camera: CameraName


class TakeSnapshot(Command):
    """Publish the next frame of a camera as a JPEG.

    Attributes:
        max_edge_px: Longer pictures are made smaller.
        quality: Of the JPEG.
    """

    pattern: ClassVar[str] = "snapshot/{camera}"
    camera: CameraName
    max_edge_px: Annotated[int, Field(ge=64, le=4096)] = 1280
    quality: Annotated[int, Field(ge=10, le=95)] = 80


class Reload(Command):
    """Read the configuration again."""

    pattern: ClassVar[str] = "reload"


COMMANDS: tuple[type[Command], ...] = (EnableCamera, DisableCamera, TakeSnapshot, Reload)


def parse_command(levels: Sequence[str], payload: bytes) -> Command:
    """Return the command that a topic (its levels below `cmd`) and a payload mean.

    Raises:
        CommandRefusedError: There is no such command, or the payload is not one of it.
    """
    for kind in COMMANDS:
        given = _fields(kind.pattern.split("/"), levels)
        if given is not None:
            return _validated(kind, given, _object(payload))
    known = ", ".join(kind.pattern for kind in COMMANDS)
    name = "/".join(levels)[:MAX_COMMAND_CHARS]
    raise CommandRefusedError(Refusal.UNKNOWN_COMMAND, f"there is no command {name!r}; there are {known}")


def request_id_of(payload: bytes) -> str | None:
    """Return the request id of a payload that may be wrong in other ways, for the reply that says so."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        return None
    try:
        return Command.model_validate(
            {"request_id": orjson.loads(payload)["request_id"]} if payload else {}
        ).request_id
    except (ValueError, KeyError, TypeError):
        return None


def _fields(pattern: Sequence[str], levels: Sequence[str]) -> dict[str, str] | None:
    """Return what stands in the places of the braces; None if the pattern does not fit."""
    if len(pattern) != len(levels):
        return None
    found: dict[str, str] = {}
    for wanted, level in zip(pattern, levels, strict=True):
        if wanted.startswith("{"):
            found[wanted.strip("{}")] = level
        elif wanted != level:
            return None
    return found


def _object(payload: bytes) -> Mapping[str, Any]:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise CommandRefusedError(
            Refusal.TOO_LARGE, f"the payload has {len(payload)} bytes, at most {MAX_PAYLOAD_BYTES} are read"
        )
    if not payload:
        return {}
    try:
        content = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        words = f"the payload is not JSON ({error.msg} at character {error.pos}); send nothing, or an object"
        raise CommandRefusedError(Refusal.BAD_REQUEST, words) from None
    if not isinstance(content, dict):
        words = f"the payload must be a JSON object or empty, found {type(content).__name__}"
        raise CommandRefusedError(Refusal.BAD_REQUEST, words)
    return content


def _validated(kind: type[Command], given: Mapping[str, str], content: Mapping[str, Any]) -> Command:
    for name in given:
        if name in content:
            raise CommandRefusedError(Refusal.BAD_REQUEST, f"{name}: is told by the topic, remove it")
    try:
        return kind.model_validate({**content, **given})
    except ValidationError as error:
        words = "; ".join(
            f"{'.'.join(map(str, problem['loc']))[:64]}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_context=False, include_input=False)[:5]
        )
        raise CommandRefusedError(Refusal.BAD_REQUEST, words) from None
