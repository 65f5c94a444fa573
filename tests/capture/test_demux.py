"""What PyAV reads: odd files, and streams that bring nothing for a while."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

av = pytest.importorskip("av", reason="PyAV is not installed")

from edge_app.capture.demux import Address, Demuxer  # noqa: E402
from tests.capture.test_device import encode  # noqa: E402

LATIN = "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode("latin-1")


def test_a_title_in_another_encoding_is_no_obstacle(tmp_path: Path) -> None:
    data = encode(io.BytesIO(), 5, container="matroska", title="cafe").getvalue()
    assert data.count(b"cafe") == 1
    (tmp_path / "a.mkv").write_bytes(data.replace(b"cafe", LATIN))
    demuxer = Demuxer(Address(str(tmp_path / "a.mkv"), live=False))
    assert demuxer.open().codec == "h264"
    assert demuxer.next()
    demuxer.close()
