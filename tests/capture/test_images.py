from __future__ import annotations

import logging
import os
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.capture.factory import create_source
from edge_app.capture.images import leads_to_images, picture_paths
from edge_app.errors import CaptureError
from tests.capture.parts import index_of, picture, read_all, section


def write(path: Path, index: int, size: tuple[int, int] = (64, 48)) -> Path:
    assert cv2.imwrite(str(path), picture(index, size))
    return path


def test_a_folder_is_shown_in_natural_order(tmp_path: Path) -> None:
    for index in (10, 2, 1, 9, 11):
        write(tmp_path / f"shot{index}.png", index)
    (tmp_path / "notes.txt").write_text("not a picture")
    pictures = read_all(create_source("folder", section(tmp_path), None))
    assert [index_of(found.array) for found in pictures] == [1, 2, 9, 10, 11]


def test_a_glob_takes_what_it_matches(tmp_path: Path) -> None:
    for name in ("left1.png", "left2.png", "right1.png"):
        write(tmp_path / name, 3)
    assert len(read_all(create_source("glob", section(f"{tmp_path}/left*.png"), None))) == 2


def test_a_glob_may_reach_into_folders(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    write(tmp_path / "a" / "b" / "deep.png", 1)
    assert [path.name for path in picture_paths(f"{tmp_path}/**/*.png")] == ["deep.png"]


def test_a_single_picture_is_a_stream_of_one(tmp_path: Path) -> None:
    path = write(tmp_path / "one.jpg", 4)
    assert len(read_all(create_source("one", section(path), None))) == 1


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "one[1].png", 4)
    assert picture_paths(str(path)) == [path]


def test_sizes_may_differ(tmp_path: Path) -> None:
    write(tmp_path / "1.png", 1, (64, 48))
    write(tmp_path / "2.png", 1, (33, 21))
    pictures = read_all(create_source("folder", section(tmp_path), None))
    assert [found.array.shape for found in pictures] == [(48, 64, 3), (21, 33, 3)]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((8, 9), np.uint8), ((8, 9), np.uint16), ((8, 9, 4), np.uint8), ((8, 9, 3), np.uint16)],
)
def test_grey_deep_and_transparent_pictures_become_bgr(
    tmp_path: Path, shape: tuple[int, ...], dtype: type
) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.full(shape, 200 if dtype is np.uint8 else 200 << 8, dtype))
    (found,) = read_all(create_source("folder", section(tmp_path), None))
    assert found.array.dtype == np.uint8
    assert (found.array.shape, int(found.array[0, 0, 0])) == ((8, 9, 3), 200)


def test_unreadable_pictures_are_skipped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "1.png", 1)
    (tmp_path / "2.png").write_bytes(b"\x89PNG but not really")
    (tmp_path / "3.jpg").write_bytes(b"")
    write(tmp_path / "4.png", 4)
    with caplog.at_level(logging.WARNING):
        pictures = read_all(create_source("folder", section(tmp_path), None))
    assert [index_of(found.array) for found in pictures] == [1, 4]
    assert "2.png is no picture" in caplog.text
    assert "2 of 4 pictures could not be read" in caplog.text


def test_a_folder_without_one_readable_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"nothing")
    source = create_source("folder", section(tmp_path, loop=True), None)
    source.open()
    with pytest.raises(CaptureError, match="not one picture"):
        source.read(1.0)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="there are no pictures"):
        create_source("folder", section(tmp_path), None).open()


def test_a_loop_starts_again(tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path / f"{index}.png", index)
    pictures = read_all(create_source("folder", section(tmp_path, loop=True), None), most=7)
    assert [index_of(found.array) for found in pictures] == [0, 1, 2, 0, 1, 2, 0]


def test_max_fps_is_the_pace_and_leaves_nothing_out(tmp_path: Path) -> None:
    for index in range(5):
        write(tmp_path / f"{index}.png", index)
    begin_s = time.monotonic()
    pictures = read_all(create_source("folder", section(tmp_path, max_fps=20.0), None))
    assert len(pictures) == 5
    assert time.monotonic() - begin_s >= 4 / 20


@pytest.mark.parametrize(
    ("location", "expected"),
    [("clip.mp4", False), ("pictures/", True), ("one.JPG", True), ("many/*.bin", True), (os.curdir, True)],
)
def test_paths_tell_pictures_from_videos(location: str, expected: bool) -> None:
    assert leads_to_images(location) is expected


def test_a_name_that_is_not_utf_8_is_a_picture_like_any_other(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1).rename(tmp_path / os.fsdecode(b"\xff\xe4.png"))
    write(tmp_path / "ä ö.png", 2)
    pictures = read_all(create_source("folder", section(tmp_path), None))
    assert sorted(index_of(found.array) for found in pictures) == [1, 2]


def test_a_picture_of_more_pixels_than_can_be_is_skipped(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    (tmp_path / "1.png").write_bytes(bomb)
    write(tmp_path / "2.png", 7)
    pictures = read_all(create_source("folder", section(tmp_path), None))
    assert [index_of(found.array) for found in pictures] == [7]
