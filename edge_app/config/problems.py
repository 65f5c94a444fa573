"""What is wrong with a configuration: every problem with its place, all of them in one error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edge_app.config.secrets import redact_uri
from edge_app.errors import ConfigError

KeyPath = tuple[str | int, ...]
"""The way to a value: keys of mappings and indices of lists."""

_MOST_SHOWN = 100
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. Credentials in URIs are hidden however they got into its texts.

    Attributes:
        file: The configuration file, as the user named it.
        line: Line in it, from 1; None where no line can be told.
        key: Path of the key, such as `cameras.door.max_fps`; empty for the file as a whole.
        message: What is wrong and what was found, without a full stop.
        hint: What to do about it, without a full stop.
    """

    file: str
    line: int | None
    key: str
    message: str
    hint: str | None = None

    def __post_init__(self) -> None:
        for name in ("key", "message", "hint"):
            text = getattr(self, name)
            object.__setattr__(self, name, text and redact_uri(text))

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        subject = f"{self.key}: " if self.key else ""
        advice = f". Hint: {self.hint}" if self.hint else ""
        return f"{place}: {subject}{self.message}{advice}"


class InvalidConfigError(ConfigError):
    """The configuration file has problems; the text lists all of them, one on each line.

    Attributes:
        problems: In the order of their lines.
    """

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        lines = [str(problem) for problem in self.problems[:_MOST_SHOWN]]
        if len(self.problems) > 1:
            lines.insert(0, f"{file} has {len(self.problems)} problems:")
        if len(self.problems) > _MOST_SHOWN:
            lines.append(f"and {len(self.problems) - _MOST_SHOWN} more")
        super().__init__("\n".join(lines))


def format_path(path: KeyPath) -> str:
    """Return a path as people write it: `cameras.door.max_fps`, `model.input.mean[1]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if _PLAIN_KEY.fullmatch(part) else shorten(redact_uri(repr(part)))
            text += f".{key}" if text else key
    return text


def shorten(text: str, limit: int = 60) -> str:
    """Return `text` cut to at most `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
