"""Files of lines: whole lines only, within their bounds, on a disk that does not always take them."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_app.publish.jsonl import rotating
from edge_app.publish.jsonl.rotating import RotatingFile


def line(number: int, size: int = 10) -> bytes:
    return str(number).rjust(size - 1, "0").encode() + b"\n"


def opened(folder: Path, *, max_bytes: int = 100, max_files: int = 3, synced: bool = False) -> RotatingFile:
    return RotatingFile(folder, "log", max_bytes=max_bytes, max_files=max_files, synced=synced)


def write(file: RotatingFile, lines: list[bytes]) -> None:
    while lines:
        lines = lines[file.write(lines) :]


def numbers(folder: Path) -> list[int]:
    """Return the numbers of all lines, the oldest file first."""
    full = sorted(path for path in folder.glob("log.*.jsonl"))
    return [
        int(text) for path in (*full, folder / "log.jsonl") for text in path.read_bytes().split(b"\n") if text
    ]


def test_the_newest_lines_are_kept_and_all_of_them_are_within_the_bound(tmp_path: Path) -> None:
    file = opened(tmp_path)
    for number in range(0, 57, 3):
        write(file, [line(number), line(number + 1), line(number + 2)])
    file.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "log.000004.jsonl",
        "log.000005.jsonl",
        "log.jsonl",
    ]
    assert numbers(tmp_path) == list(range(30, 57))
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 100


def test_the_numbers_go_on_after_a_restart_and_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "log.000007.jsonl").write_bytes(line(0))
    for name in ("log.x.jsonl", "log.000001.jsonl.gz", "other.000001.jsonl"):
        (tmp_path / name).touch()
    file = opened(tmp_path, max_bytes=10)
    write(file, [line(1), line(2), line(3)])
    file.close()
    assert {path.name for path in tmp_path.glob("log.0*.jsonl")} == {"log.000008.jsonl", "log.000009.jsonl"}
    assert numbers(tmp_path) == [1, 2, 3]
    assert {"log.x.jsonl", "log.000001.jsonl.gz", "other.000001.jsonl"} < {
        path.name for path in tmp_path.iterdir()
    }


def test_one_file_alone_begins_anew(tmp_path: Path) -> None:
    file = opened(tmp_path, max_bytes=20, max_files=1)
    write(file, [line(number) for number in range(5)])
    file.close()
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
    assert numbers(tmp_path) == [4]


def test_a_line_that_is_longer_than_a_file_gets_one_for_itself(tmp_path: Path) -> None:
    file = opened(tmp_path, max_bytes=20)
    write(file, [line(1), line(2, 50), line(3)])
    file.close()
    assert numbers(tmp_path) == [1, 2, 3]


def test_directories_are_made_and_the_group_may_read(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        file = opened(tmp_path / "a" / "b")
        write(file, [line(1)])
        file.close()
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a" / "b" / "log.jsonl").stat().st_mode) == 0o640


@pytest.mark.parametrize("torn", [b"torn", b"x" * 200_000])
def test_what_a_crash_has_cut_is_taken_back(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "log.jsonl").write_bytes(line(1) + line(2) + torn)
    file = opened(tmp_path)
    write(file, [line(3)])
    file.close()
    assert (tmp_path / "log.jsonl").read_bytes() == line(1) + line(2) + line(3)


def test_nothing_but_a_torn_line(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"torn")
    file = opened(tmp_path)
    write(file, [line(3)])
    file.close()
    assert (tmp_path / "log.jsonl").read_bytes() == line(3)


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let the kernel refuse to let files grow further: a write may end in the middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_half_of_a_write_is_taken_back(tmp_path: Path) -> None:
    file = opened(tmp_path, max_bytes=1000)
    write(file, [line(1)])
    with files_of_at_most(25), pytest.raises(OSError, match="File too large"):
        file.write([line(2), line(3), line(4)])
    assert (tmp_path / "log.jsonl").read_bytes() == line(1)
    write(file, [line(5)])
    file.close()
    assert numbers(tmp_path) == [1, 5]


def test_room_is_left_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(tmp_path)
    write(file, [line(1)])
    monkeypatch.setattr(rotating, "RESERVE_BYTES", 1 << 62)
    with pytest.raises(OSError, match="No space left"):
        file.write([line(2)])
    file.close()
    assert numbers(tmp_path) == [1]


@pytest.mark.parametrize("how", ["moved", "removed"])
def test_a_file_that_somebody_takes_away_is_made_again(tmp_path: Path, how: str) -> None:
    file = opened(tmp_path)
    write(file, [line(1)])
    path = tmp_path / "log.jsonl"
    if how == "moved":
        path.rename(tmp_path / "kept")
    else:
        path.unlink()
    write(file, [line(2)])
    file.close()
    assert path.read_bytes() == line(2)


def test_another_process_that_writes_it_is_named(tmp_path: Path) -> None:
    file = opened(tmp_path)
    write(file, [line(1)])
    text = f"""
from pathlib import Path
from edge_app.publish.jsonl.rotating import RotatingFile
RotatingFile(Path({str(tmp_path)!r}), "log", max_bytes=1, max_files=2, synced=False).write([b"x\\n"])
"""
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert "another process writes it" in ended.stderr
    file.close()
    assert numbers(tmp_path) == [1]


def test_only_what_must_survive_the_loss_of_power_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    for wanted in (False, True):
        file = opened(tmp_path / str(wanted), synced=wanted)
        write(file, [line(1)])
        file.sync()
        file.sync()
        file.close()
    assert len(synced) == 1
