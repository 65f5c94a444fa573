"""A picture as a JPEG file of a bounded size."""

from __future__ import annotations

import numpy as np

from edge_app.capture.snapshot import Shot

LOWER_QUALITIES = (70, 55, 40, 25)
"""Tried one after the other where a file is too large."""


def encode_jpeg(shot: Shot, max_edge_px: int, quality: int, max_bytes: int) -> tuple[bytes, int, int] | None:
    """Return a shot as JPEG with its width and height; None if not even a poor one is small enough.

    Args:
        shot: The picture.
        max_edge_px: It is made smaller until no edge is longer.
        quality: 1 to 100; lower ones are tried where the file is too large.
        max_bytes: Most bytes of the file.
    """
    import cv2

    from edge_app.preprocess.host_picture import host_picture

    pixels = host_picture(shot.pixels, (shot.info.width, shot.info.height), shot.pixel_format, shot.colors)
    height, width = pixels.shape[:2]
    scale = max_edge_px / max(width, height)
    if scale < 1:
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    for tried in (quality, *(lower for lower in LOWER_QUALITIES if lower < quality)):
        done, file = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, tried])
        if done and file.size <= max_bytes:
            return file.tobytes(), width, height
    return None
