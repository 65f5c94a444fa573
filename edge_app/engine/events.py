"""What the building child process says to its parent: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class EventKind(str, Enum):
    """What a line is about."""

    PHASE = "phase"
    """A step of the build began; `text` names it."""
    PROGRESS = "progress"
    """`percent` of the whole build is done."""
    LOG = "log"
    """A warning or error of TensorRT."""
    NOTE = "note"
    """A decision of ours that a person should know."""
    RESULT = "result"
    """The plan is written; `data` describes it."""
    FAILED = "failed"
    """The build failed; `data` holds kind, hint and details."""


class FailureKind(str, Enum):
    """Why a build failed, as far as somebody can act upon it."""

    OUT_OF_MEMORY = "out_of_memory"
    PARSE = "parse"
    OPTIONS = "options"
    BUILD = "build"


@dataclass(frozen=True, slots=True)
class BuildEvent:
    """One message of a build.

    Attributes:
        kind: What it is about.
        text: A sentence or a name for people.
        elapsed_s: Seconds since the build began.
        percent: 0 to 100 of the whole build; None where TensorRT does not tell (before 10, roughly).
        data: More, by kind.
    """

    kind: EventKind
    text: str
    elapsed_s: float = 0.0
    percent: float | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_line(self) -> str:
        """Return the event as one line of JSON."""
        values = {"kind": self.kind.value, "text": self.text, "elapsed_s": round(self.elapsed_s, 3)}
        if self.percent is not None:
            values["percent"] = round(self.percent, 1)
        return json.dumps({**values, **({"data": dict(self.data)} if self.data else {})})

    @classmethod
    def from_line(cls, line: str) -> BuildEvent | None:
        """Return the event on a line; None if the line is none."""
        try:
            values = json.loads(line)
            return cls(**{**values, "kind": EventKind(values["kind"])})
        except (ValueError, TypeError, KeyError):
            return None


EventSink = Callable[[BuildEvent], None]
