"""Snapshots: a copy of the next frame that passes, and as JPEG."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest

from edge_app.capture.snapshot import Shot, SnapshotTap, encode_jpeg
from edge_app.messages import Frame, FrameInfo, PixelFormat
from tests.brokers import until
from tests.capture.parts import RecordingSink, picture

RNG = np.random.default_rng(1)


def frame(number: int, camera_id: str = "yard", size: tuple[int, int] = (320, 240)) -> Frame:
    info = FrameInfo(camera_id, number, time.monotonic_ns(), time.time_ns(), *size)
    return Frame(info, picture(number, size))


def ask(tap: SnapshotTap, found: list[Shot | None], camera_id: str = "yard") -> threading.Thread:
    before = sum(map(len, tap._wishes.values()))
    thread = threading.Thread(target=lambda: found.append(tap.take(camera_id, 5.0)))
    thread.start()
    until(lambda: sum(map(len, tap._wishes.values())) > before, "somebody waits")
    return thread


def test_the_next_frame_is_copied_and_passed_on() -> None:
    sink, found = RecordingSink(), list[Shot | None]()
    tap = SnapshotTap(sink)
    tap.put(frame(1))
    waiting = [ask(tap, found), ask(tap, found)]
    tap.put(frame(2, "gate"))
    assert not found
    passing = frame(3)
    tap.put(passing)
    for thread in waiting:
        thread.join(5)
    assert [shot.info.frame_id for shot in found if shot] == [3, 3]
    assert found[0] is not None
    passing.pixels[:] = 0  # its memory is somebody else's by now
    assert found[0].pixels.mean() > 0
    assert not tap._wishes
    tap.put(frame(4))
    tap.finish("yard")
    assert [info.frame_id for info in sink.frames["yard"]] == [1, 3, 4]
    assert [info.frame_id for info in sink.frames["gate"]] == [2]
    assert sink.finished == {"yard"}


def test_where_no_frame_comes_there_is_none() -> None:
    tap = SnapshotTap(RecordingSink())
    assert tap.take("yard", 0.05) is None
    assert not tap._wishes


def shot(pixels: np.ndarray, pixel_format: PixelFormat = PixelFormat.BGR) -> Shot:
    return Shot(FrameInfo("yard", 1, 0, 0, 640, 360), pixels, pixel_format)


@pytest.mark.parametrize(("max_edge_px", "size"), [(1280, (640, 360)), (320, (320, 180)), (64, (64, 36))])
def test_large_pictures_are_made_smaller(max_edge_px: int, size: tuple[int, int]) -> None:
    encoded = encode_jpeg(shot(np.full((360, 640, 3), (20, 90, 200), np.uint8)), max_edge_px, 90, 1 << 20)
    assert encoded is not None
    jpeg, width, height = encoded
    assert (width, height) == size
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == (height, width, 3)
    assert np.abs(decoded.reshape(-1, 3).mean(0) - (20, 90, 200)).max() < 3


def test_nv12_is_understood() -> None:
    bgr = np.full((360, 640, 3), (20, 90, 200), np.uint8)
    planes = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420).reshape(-1)
    luma, blue, red = np.split(planes, [640 * 360, 640 * 360 * 5 // 4])
    nv12 = np.concatenate([luma, np.stack([blue, red], 1).reshape(-1)]).reshape(540, 640)
    encoded = encode_jpeg(shot(nv12, PixelFormat.NV12), 1280, 90, 1 << 20)
    assert encoded is not None
    decoded = cv2.imdecode(np.frombuffer(encoded[0], np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == bgr.shape
    assert np.abs(decoded.reshape(-1, 3).mean(0) - (20, 90, 200)).max() < 5


def test_a_file_that_would_be_too_large_is_made_poorer_or_not_at_all() -> None:
    noise = shot(RNG.integers(0, 256, (360, 640, 3), np.uint8))
    best = encode_jpeg(noise, 640, 95, 1 << 20)
    assert best is not None
    poorer = encode_jpeg(noise, 640, 95, len(best[0]) // 2)
    assert poorer is not None
    assert len(poorer[0]) <= len(best[0]) // 2
    assert encode_jpeg(noise, 640, 95, 1000) is None
