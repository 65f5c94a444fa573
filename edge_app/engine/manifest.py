"""The manifest: the JSON file beside a plan that says what the plan is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from edge_app.engine.errors import DamagedEngineError
from edge_app.engine.identity import EngineIdentity
from edge_app.files.bounded import read_bounded

FORMAT = "edge-app.engine/1"
MOST_BYTES = 4 << 20
"""Of a manifest; with all labels and figures it has some ten thousand."""
STEM = re.compile(r"[^.].*-(fp32|fp16|int8)-[0-9a-f]{12}-[0-9a-f]{8}")
"""What `Manifest.stem` returns. Other files in the directory, such as a person's own, are not the store's."""


class EngineState(str, Enum):
    """How far an engine came."""

    CANDIDATE = "candidate"
    """Built, and not yet verified."""
    GOOD = "good"
    """Verified, or accepted by a person; the only ones that are taken into use."""
    REFUSED = "refused"
    """Its results are too far from those of the model."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a plan.

    Attributes:
        name: Name of the model, as people call it.
        identity: What the plan is.
        plan_sha256: SHA-256 of the plan.
        plan_bytes: Its size.
        build_s: Seconds that the build took.
        created_at: When it was built (ISO 8601, UTC).
        state: Whether it may be used.
        serving: What is needed to serve with it later: labels, input, head; as the caller gave it.
        build: How it was built: workspace, attempts, notes; for people.
        verification: The figures of the verification; None before it.
    """

    name: str
    identity: EngineIdentity
    plan_sha256: str
    plan_bytes: int
    build_s: float
    created_at: str
    state: EngineState = EngineState.CANDIDATE
    serving: Mapping[str, Any] = field(default_factory=dict)
    build: Mapping[str, Any] = field(default_factory=dict)
    verification: Mapping[str, Any] | None = None

    @property
    def stem(self) -> str:
        """The file name without its ending: readable, and different for each identity and each plan."""
        precision = self.identity.precision.value
        return f"{readable(self.name)}-{precision}-{self.identity.digest[:12]}-{self.plan_sha256[:8]}"

    def to_bytes(self) -> bytes:
        """Return the manifest as the text of its file."""
        values = {"format": FORMAT, **asdict(self)}
        return (json.dumps(values, indent=2) + "\n").encode()


def readable(name: str) -> str:
    """Return a name as a part of a file name: ASCII letters, digits, dots, dashes and underscores."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    return kept[:80].lstrip(".") or "model"


def read_manifest(path: Path) -> Manifest:
    """Read the manifest at `path`.

    Raises:
        DamagedEngineError: It is not one; says what is wrong with it.
    """
    try:
        values = json.loads(read_bounded(path, MOST_BYTES))
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        values["identity"] = EngineIdentity.from_json(values["identity"])
        values["state"] = EngineState(values["state"])
        manifest = Manifest(**values)
        _check_types(manifest)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedEngineError(f"{path}: not a manifest of an engine: {_reason(error)}") from None
    except OSError as error:
        raise DamagedEngineError(f"{path}: cannot be read: {error.strerror}") from None
    if manifest.stem != path.stem:
        raise DamagedEngineError(
            f"{path}: the manifest belongs to {manifest.stem}, so one of them was changed"
        )
    return manifest


def _check_types(manifest: Manifest) -> None:
    texts = (manifest.name, manifest.plan_sha256, manifest.created_at)
    numbers = (manifest.plan_bytes, manifest.build_s)
    if not all(isinstance(value, str) for value in texts):
        raise TypeError("name, plan_sha256 and created_at must be texts")
    if not all(isinstance(value, int | float) for value in numbers):
        raise TypeError("plan_bytes and build_s must be numbers")
    if not isinstance(manifest.serving, dict) or not isinstance(manifest.build, dict):
        raise TypeError("serving and build must be mappings")


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
