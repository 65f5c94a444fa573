"""Every event that the log tells of is one that people can look up."""

from __future__ import annotations

import re
from pathlib import Path

from edge_app.messages import CameraState

ROOT = Path(__file__).parents[2]


def test_every_event_is_in_the_documentation() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "edge_app").rglob("*.py"))
    told = set(re.findall(r'"event": "(\w+)"', code)) | {f"camera_{state.value}" for state in CameraState}
    (row,) = re.findall(r"^\| `EVENT` \|.*$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert "camera_lost" in told
    assert told == set(re.findall(r"`(\w+)`", row)) - {"EVENT"}
