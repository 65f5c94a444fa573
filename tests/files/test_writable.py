"""Whether a result can be written is found out before, and leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.errors import ConfigError
from edge_app.files.writable import require_writable


def test_what_is_there_stays_and_what_is_not_there_is_not_left(tmp_path: Path) -> None:
    kept, new = tmp_path / "kept.json", tmp_path / "new.json"
    kept.write_text("old")
    for path in (kept, new):
        require_writable(path, "--json")
    assert kept.read_text() == "old"
    assert not new.exists()


def test_a_link_to_nowhere_stays_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "target.json")
    require_writable(link, "--json")
    assert link.is_symlink()


@pytest.mark.parametrize(
    ("place", "why"), [("nowhere/x.json", "No such file or directory"), (".", "Is a directory")]
)
def test_what_cannot_be_written_is_said_with_the_option(place: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"cannot be written: {why}\. Hint: .* for --plot\.") as raised:
        require_writable(tmp_path / place, "--plot")
    assert str(tmp_path) in raised.value.message
