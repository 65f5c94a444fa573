"""A password that is a name is warned about, and not told."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.config import check_config

WORDS = "the password stands in a name of a camera, model, sink or node"


@pytest.mark.parametrize(
    ("password", "warned"),
    [("gate", True), ("yard-2", True), ("hunter2", False), ("ard", False), ("", False)],
)
def test_a_password_that_stands_in_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, warned: bool
) -> None:
    if password:
        monkeypatch.setenv("DOOR_PASSWORD", password)
    path = tmp_path / "edge.yaml"
    path.write_text(
        "cameras:\n"
        "  door: {uri: 'rtsp://h/x', username: u, password_env: DOOR_PASSWORD}\n"
        "  gate: {uri: 'scene://street'}\n  yard-23: {uri: 'scene://street'}\n"
    )
    said = [line for line in check_config(path) if WORDS in line]
    assert [line.split()[1] for line in said] == ["cameras.door:"] * warned
    assert not any(password in line for line in said)
