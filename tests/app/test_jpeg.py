"""Snapshots as JPEG: their size, their colours, and a bound."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_app.app.jpeg import encode_jpeg
from edge_app.capture.snapshot import Shot
from edge_app.messages import BT601_LIMITED_RANGE, FrameInfo, PixelFormat

RNG = np.random.default_rng(1)


def shot(pixels: np.ndarray, pixel_format: PixelFormat = PixelFormat.BGR) -> Shot:
    return Shot(FrameInfo("yard", 1, 0, 0, 640, 360), pixels, pixel_format, BT601_LIMITED_RANGE)


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
