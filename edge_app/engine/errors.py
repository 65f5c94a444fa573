"""The errors of building, keeping and checking engines."""

from __future__ import annotations

from collections.abc import Sequence

from edge_app.errors import EdgeAppError


class EngineError(EdgeAppError):
    """An engine could not be built, found, or taken into use."""


class UnsafeStoreError(EngineError):
    """The engine directory, or a file in it, could have been written by somebody else: an engine is code."""


class DamagedEngineError(EngineError):
    """A plan or its manifest is not what was written; it was set aside."""


class RefusedEngineError(EngineError):
    """The engine was built, but its results are too far from those of the model."""


class BuildError(EngineError):
    """The build failed, with its cause in words.

    Args:
        message: What happened.
        hint: What to do about it.
        kind: One of the `FailureKind` values of `events`.
        details: One line for each parser error, or the last lines of the builder's log.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, kind: str = "failed", details: Sequence[str] = ()
    ) -> None:
        super().__init__("\n  ".join((message, *details)), hint=hint)
        self.kind = kind
        self.details = tuple(details)
