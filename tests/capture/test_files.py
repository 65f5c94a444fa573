from __future__ import annotations

import logging
import struct
import time
import wave
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_app.capture.factory import create_source
from edge_app.capture.ffmpeg import follows_size_changes
from edge_app.capture.opencv import to_bgr
from edge_app.capture.pool import FramePool
from edge_app.errors import CaptureError
from tests.capture.parts import index_of, picture, read_all, section, write_video

FORMATS = [("clip.mp4", "mp4v"), ("clip.avi", "MJPG"), ("clip.mkv", "MJPG")]


@pytest.mark.parametrize(("name", "fourcc"), FORMATS)
def test_every_frame_is_delivered_in_order_with_its_time(tmp_path: Path, name: str, fourcc: str) -> None:
    path = write_video(tmp_path / name, fourcc, 30)
    pictures = read_all(create_source("file", section(path), None))
    assert [index_of(found.array) for found in pictures] == list(range(30))
    times = [found.media_time_s for found in pictures]
    assert times == pytest.approx([index / 25 for index in range(30)], abs=0.002)
    assert all(found.array.shape == (240, 320, 3) and found.array.dtype == np.uint8 for found in pictures)
    assert [found.captured_ns for found in pictures] == sorted(found.captured_ns for found in pictures)


def test_a_path_may_hold_spaces_and_letters_beyond_ascii(tmp_path: Path) -> None:
    path = write_video(tmp_path / "Straße 1 100%.avi", "MJPG", 3)
    assert len(read_all(create_source("file", section(path), None))) == 3


def test_max_fps_thins_a_file_by_its_own_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", "MJPG", 30)
    pictures = read_all(create_source("file", section(path, max_fps=5.0), None))
    assert [index_of(found.array) for found in pictures] == [0, 5, 10, 15, 20, 25]


def test_realtime_takes_its_time_and_leaves_nothing_out(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", "MJPG", 10, fps=20)
    begin_s = time.monotonic()
    pictures = read_all(create_source("file", section(path, realtime=True), None))
    assert [index_of(found.array) for found in pictures] == list(range(10))
    assert time.monotonic() - begin_s >= 9 / 20


def test_realtime_waits_no_longer_than_it_is_allowed_to(tmp_path: Path) -> None:
    path = write_video(tmp_path / "slow.avi", "MJPG", 2, fps=1)
    source = create_source("file", section(path, realtime=True), None)
    source.open()
    assert source.read(0.01) is not None
    assert source.read(0.01) is None
    source.close()


def test_a_loop_starts_again(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", "MJPG", 4)
    pictures = read_all(create_source("file", section(path, loop=True), None), most=10)
    assert [index_of(found.array) for found in pictures] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert pictures[4].media_time_s == pytest.approx(0.0, abs=0.002)


def test_frames_come_in_borrowed_buffers_that_are_used_again(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", "MJPG", 10)
    pool = FramePool()
    source = create_source("file", section(path), None, pool)
    source.open()
    addresses = set()
    for index in range(10):
        found = source.read(1.0)
        assert found is not None
        assert index_of(found.array) == index
        if index > 0:
            assert found.lease is not None
            addresses.add(found.array.ctypes.data)
            found.lease.release()
    assert (len(addresses), pool.free) == (1, 1)
    source.close()


def test_a_held_frame_is_not_overwritten_by_later_ones(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", "MJPG", 6)
    source = create_source("file", section(path), None)
    source.open()
    held = [source.read(1.0) for _ in range(6)]
    assert [index_of(found.array) for found in held if found] == list(range(6))
    source.close()


@pytest.mark.skipif(cv2.__version__.startswith("4.6"), reason="OpenCV 4.6 turns the wrong way")
def test_the_rotation_in_the_metadata_is_applied(tmp_path: Path) -> None:
    upright = np.zeros((240, 320, 3), np.uint8)
    upright[:, :160] = 255
    path = tmp_path / "rotated.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (320, 240))
    for _ in range(3):
        writer.write(upright)
    writer.release()
    turn_by_90_degrees(path)
    pictures = read_all(create_source("file", section(path), None))
    assert [found.array.shape for found in pictures] == [(320, 240, 3)] * 3
    top, bottom = pictures[0].array[:100].mean(), pictures[0].array[-100:].mean()
    assert (top > 200, bottom < 50) == (True, True)


def turn_by_90_degrees(path: Path) -> None:
    """Write a rotation into the display matrix of the MP4 track header (ISO 14496-12, 8.3.2)."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    clockwise = (0, 0x10000, 0, -0x10000, 0, 0, 240 << 16, 0, 0x40000000)
    content[matrix : matrix + 36] = struct.pack(">9i", *clockwise)
    path.write_bytes(content)


def test_odd_sizes_keep_their_last_row_and_column(tmp_path: Path) -> None:
    path = write_jpegs(tmp_path / "odd.mjpeg", [(161, 121)] * 3)
    pictures = read_all(create_source("file", section(path), None))
    assert [found.array.shape for found in pictures] == [(121, 161, 3)] * 3
    assert index_of(pictures[2].array[-1:, -1:]) == 2


@pytest.mark.skipif(not follows_size_changes(), reason="OpenCV before 4.14 repeats the last picture instead")
def test_the_size_may_change_midway(tmp_path: Path) -> None:
    """FFmpeg keeps the first size and scales the others to it; what counts is that the pictures are new."""
    sizes = [(320, 240)] * 4 + [(640, 480)] * 4 + [(160, 120)] * 4
    path = write_jpegs(tmp_path / "changing.mjpeg", sizes)
    pictures = read_all(create_source("file", section(path), None))
    assert [index_of(found.array) for found in pictures] == list(range(12))


def write_jpegs(path: Path, sizes: list[tuple[int, int]]) -> Path:
    """Write pictures of these sizes one behind the other, which is what a camera's MJPEG stream is."""
    pictures = [cv2.imencode(".jpg", picture(index, size))[1] for index, size in enumerate(sizes)]
    path.write_bytes(b"".join(found.tobytes() for found in pictures))
    return path


def test_grey_video_is_delivered_in_three_channels(tmp_path: Path) -> None:
    path = write_video(tmp_path / "grey.avi", "MJPG", 5, color=False)
    pictures = read_all(create_source("file", section(path), None))
    assert [found.array.shape for found in pictures] == [(240, 320, 3)] * 5
    assert index_of(pictures[4].array) == 4


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3), (4, 6, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_kind_of_picture_becomes_bgr(shape: tuple[int, ...], dtype: type) -> None:
    image: NDArray[Any] = np.full(shape, 200 if dtype is np.uint8 else 200 << 8, dtype)
    found = to_bgr(image)
    assert found.dtype == np.uint8
    assert (found.shape, int(found.min()), int(found.max())) == ((4, 6, 3), 200, 200)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(CaptureError, match="is no picture"):
        to_bgr(np.zeros((4, 6, 3), np.float32))


@pytest.mark.parametrize(("name", "fourcc"), [("clip.avi", "MJPG"), ("clip.mkv", "MJPG")])
def test_a_truncated_file_gives_what_it_holds(
    tmp_path: Path, name: str, fourcc: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / name, fourcc, 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        pictures = read_all(create_source("file", section(path), None))
    assert 5 < len(pictures) < 40
    assert [index_of(found.array) for found in pictures[:-1]] == list(range(len(pictures) - 1))


def test_a_file_that_ends_early_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "clip.avi", "MJPG", 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        read_all(create_source("file", section(path), None))
    assert "of 40 frames: it is incomplete" in caplog.text


def make_truncated_mp4(path: Path) -> None:
    write_video(path, "mp4v", 20)
    path.write_bytes(path.read_bytes()[:-200])


def make_sound(path: Path) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0\0" * 8000)


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("absent.mp4", lambda path: None, "there is no file"),
        ("empty.mp4", lambda path: path.write_bytes(b""), "is empty"),
        (
            "noise.mp4",
            lambda path: path.write_bytes(bytes(range(256)) * 64),
            "holds no video that can be decoded",
        ),
        (
            "letter.mp4",
            lambda path: path.write_text("Dear Sir or Madam"),
            "holds no video that can be decoded",
        ),
        ("cut.mp4", make_truncated_mp4, "holds no video that can be decoded"),
        ("sound.wav", make_sound, "holds no video that can be decoded"),
    ],
)
def test_a_bad_file_is_refused_with_its_reason(
    tmp_path: Path, name: str, make: object, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    assert callable(make)
    make(path)
    with pytest.raises(CaptureError, match=reason):
        create_source("file", section(path), None).open()
    assert capfd.readouterr().err == ""


def test_credentials_for_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="of no use to a file camera"):
        create_source("file", section(tmp_path / "clip.mp4", username="admin"), "secret")


def test_pictures_of_parts_can_tell_their_index() -> None:
    assert [index_of(picture(index)) for index in (0, 7, 29)] == [0, 7, 29]
