"""Whether a directory can be used is told in words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_app.files.place import why_unusable

needs_user = pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")


def test_what_is_there_or_can_be_made_is_good(tmp_path: Path) -> None:
    assert why_unusable(tmp_path) is None
    assert why_unusable(tmp_path / "a" / "b") is None


def test_a_file_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        assert why_unusable(directory) == f"{tmp_path / 'file'} is not a directory"


def test_a_link_to_nowhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert why_unusable(tmp_path / "link") == f"{tmp_path / 'link'} is not a directory"


@needs_user
def test_what_others_forbid_is_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert why_unusable(tmp_path / "closed" / "new") == f"this user cannot write to {tmp_path / 'closed'}"
