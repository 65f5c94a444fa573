"""Pictures for engines: to calibrate with, and to be judged by."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_app.capture.factory import create_source
from edge_app.capture.length import count_pictures
from edge_app.config.camera_uri import CameraKind, parse_camera_uri
from edge_app.config.models import CameraSection
from edge_app.errors import CaptureError, EndOfStream
from edge_app.interfaces import Picture, Source
from edge_app.messages import Frame, FrameInfo
from edge_app.preprocess.host_picture import host_picture
from edge_app.scene import StreetScene

Image = NDArray[np.uint8]

FRAME_TIMEOUT_S = 30.0
"""A camera that sends nothing for so long is given up."""
LIVE_FPS = 2.0
"""One second of a camera is much like the next: so many frames of each are taken."""
FINITE = frozenset({CameraKind.FILE, CameraKind.SCENE})


def source_images(uri: str, count: int) -> Iterator[Image]:
    """Yield up to `count` (height, width, 3) uint8 BGR images of a folder, a video, a camera or a scene.

    They are copies, evenly spread over what has an end; of a camera two of each second.

    Raises:
        CaptureError: The source cannot be opened, or sends nothing.
        ConfigError: The URI cannot be understood.
    """
    parsed = parse_camera_uri(uri)
    max_fps = None if parsed.kind in FINITE else LIVE_FPS
    source = create_source("engine", CameraSection(uri=uri, max_fps=max_fps), None)
    length = count_pictures(parsed)
    step = max(1.0, length / count) if length else 1.0
    source.open()
    try:
        for taken in range(count):
            image = _after(source, int(taken * step) - int((taken - 1) * step) - 1 if taken else 0)
            if image is None:
                return
            yield image
    finally:
        source.close()


def _after(source: Source, skipped: int) -> Image | None:
    """Return a copy of the picture after `skipped` others; None at the end."""
    deadline_s = time.monotonic() + FRAME_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            picture = source.read(1.0)
        except EndOfStream:
            return None
        if picture is None:
            continue
        image = None if skipped else _image(picture)
        if picture.lease is not None:
            picture.lease.release()
        if image is not None:
            return image
        skipped -= 1
        deadline_s = time.monotonic() + FRAME_TIMEOUT_S
    raise CaptureError(f"the source of frames sent nothing for {FRAME_TIMEOUT_S:.0f} s")


def _image(picture: Picture) -> Image:
    return host_picture(picture.pixels, picture.width_height, picture.pixel_format, picture.colors)


def rendered_images(count: int) -> Iterator[Image]:
    """Yield `count` rendered street scenes, each of another seed."""
    for seed in range(count):
        yield StreetScene(seed=seed, width=1280, height=720, fps=1.0).render(3)


def as_frame(image: Image) -> Frame:
    """Return an image as a frame of no camera in particular."""
    height, width = image.shape[:2]
    return Frame(FrameInfo("engine", 0, time.monotonic_ns(), time.time_ns(), width, height), image)
