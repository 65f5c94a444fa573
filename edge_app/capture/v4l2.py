"""How OpenCV's own Video4Linux reader is opened, where there is no GStreamer."""

from __future__ import annotations

from edge_app.capture.diagnosis import explain_device
from edge_app.capture.opencv import Opening
from edge_app.config.camera_uri import CameraUri

_FOURCC = {"mjpeg": b"MJPG", "yuyv": b"YUYV"}


def v4l2_opening(uri: CameraUri) -> Opening:
    """Say how a USB camera is opened. The camera picks what is nearest to the wanted size and rate."""
    wanted: list[tuple[str, float]] = []
    if uri.pixel_format:
        wanted.append(("CAP_PROP_FOURCC", int.from_bytes(_FOURCC[uri.pixel_format], "little")))
    if uri.size:
        wanted += [("CAP_PROP_FRAME_WIDTH", uri.size[0]), ("CAP_PROP_FRAME_HEIGHT", uri.size[1])]
    if uri.fps:
        wanted.append(("CAP_PROP_FPS", uri.fps))
    return Opening(
        target=uri.location,
        api="CAP_V4L2",
        parameters=tuple(wanted),
        decoder="v4l2",
        live=True,
        explain=lambda: explain_device(uri.location),
    )
