"""A file is replaced as a whole, and nobody is led to another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.files.replacing import replace_content


def test_the_content_is_replaced_and_nothing_is_left_beside(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    (tmp_path / "a.new").write_text("of one that was killed")
    for content in (b"longer than the next", b"one"):
        replace_content(file, content)
        assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


def test_no_link_is_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "a.new").symlink_to(victim)
    (tmp_path / "a.json").symlink_to(victim)
    replace_content(tmp_path / "a.json", b"new")
    assert (victim.read_text(), (tmp_path / "a.json").read_bytes()) == ("precious", b"new")


def test_what_cannot_be_replaced_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.new").mkdir()
    with pytest.raises(OSError, match=r"directory|permitted"):
        replace_content(tmp_path / "a.json", b"new")
