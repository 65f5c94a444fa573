"""Files are read within bounds, whatever they turn out to be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_app.files.bounded import NotRegularError, read_bounded, read_start, sha256_of


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    assert read_start(path, 3) == b"123"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_bounded(path, 4)


@pytest.mark.timeout(30)
def test_what_is_no_regular_file_is_named(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, kind in ((pipe, "a pipe"), (tmp_path, "a directory"), (Path("/dev/zero"), "a device")):
        for read in (lambda path: read_start(path, 1), sha256_of):
            with pytest.raises(NotRegularError, match=f"it is {kind} and not a regular file") as caught:
                read(path)
            assert caught.value.kind == kind
