"""How OpenCV's FFmpeg reader is opened: timeouts, threads and transport, all set on purpose."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import cv2

from edge_app.capture.credentials import Credentials
from edge_app.capture.demux import Address
from edge_app.capture.diagnosis import explain_file, explain_server
from edge_app.capture.opencv import Opening
from edge_app.config.camera_uri import CameraKind, CameraUri

FFMPEG = "ffmpeg"
READ_GRACE_S = 1.0
"""FFmpeg gives a hung read up this much after we did: before that, it would pass stale frames as new ones."""
LIVE_OPTIONS = {"fpsprobesize": "0"}
"""A stream's rate is not guessed from its first pictures. They are kept: the next keyframe may be far."""
_FILE_TIMEOUT_S = 3600.0
"""A slow disk is no reason to end a file early: FFmpeg's default of 30 s would."""


def file_opening(uri: CameraUri, *, decoder_threads: int, paced: bool, loop: bool) -> Opening:
    """Say how a video file is opened; `paced` plays it at its own speed and leaves nothing out."""
    return Opening(
        target=uri.location,
        api="CAP_FFMPEG",
        parameters=_parameters(_FILE_TIMEOUT_S, _FILE_TIMEOUT_S, decoder_threads),
        decoder=FFMPEG,
        live=False,
        has_media_time=True,
        paced=paced,
        loop=loop,
        explain=lambda: explain_file(uri.location),
    )


def network_opening(
    uri: CameraUri,
    credentials: Credentials,
    *,
    transport: str,
    open_timeout_s: float,
    stall_s: float,
    decoder_threads: int,
) -> Opening:
    """Say how an rtsp or http camera is opened."""
    return Opening(
        target=credentials.url(uri.location),
        api="CAP_FFMPEG",
        parameters=_parameters(open_timeout_s, stall_s + READ_GRACE_S, decoder_threads),
        decoder=FFMPEG,
        live=True,
        has_media_time=True,
        paced=is_segmented(uri),
        transport=transport if uri.kind is CameraKind.RTSP else None,
        explain=lambda: explain_server(uri, credentials, timeout_s=min(1.5, open_timeout_s)),
    )


def file_address(uri: CameraUri) -> Address:
    """Say how a video file is read packet by packet."""
    return Address(
        uri.location,
        live=False,
        explain=lambda: explain_file(uri.location),
        turned_degrees=lambda: _turned_degrees(uri.location),
    )


def _turned_degrees(location: str) -> int:
    """Return how far OpenCV turns a file's pictures; PyAV tells it of decoded pictures alone."""
    if not Path(location).is_file():
        return 0  # a pipe cannot be read twice
    capture = cv2.VideoCapture()
    try:
        capture.open(location, cv2.CAP_FFMPEG, list[int]())
        return int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) if capture.isOpened() else 0
    except cv2.error:
        return 0
    finally:
        capture.release()


def network_address(
    uri: CameraUri, credentials: Credentials, *, transport: str, open_timeout_s: float, stall_s: float
) -> Address:
    """Say how an rtsp or http camera is read packet by packet."""
    rtsp = {"rtsp_transport": transport, "allowed_media_types": "video"}
    return Address(
        target=credentials.url(uri.location),
        live=True,
        options={**LIVE_OPTIONS, **(rtsp if uri.kind is CameraKind.RTSP else {})},
        open_timeout_s=open_timeout_s,
        read_timeout_s=stall_s + READ_GRACE_S,
        explain=lambda: explain_server(uri, credentials, timeout_s=min(1.5, open_timeout_s)),
    )


def is_segmented(uri: CameraUri) -> bool:
    """Whether it is HLS: a segment's frames arrive together, and newest-wins would keep one of them."""
    return uri.kind is CameraKind.HTTP and urlsplit(uri.location).path.endswith(".m3u8")


def follows_size_changes() -> bool:
    """Whether this OpenCV notices when a stream changes its resolution.

    Measured: 4.6 to 4.12 then repeat the last picture for ever; 4.14 and 5.0 scale to the first size.
    """
    return tuple(int(part) for part in cv2.__version__.split(".")[:2]) >= (4, 14)


def _parameters(open_timeout_s: float, read_timeout_s: float, threads: int) -> tuple[tuple[str, float], ...]:
    return (
        ("CAP_PROP_OPEN_TIMEOUT_MSEC", open_timeout_s * 1000),
        ("CAP_PROP_READ_TIMEOUT_MSEC", read_timeout_s * 1000),
        ("CAP_PROP_N_THREADS", threads),
    )
