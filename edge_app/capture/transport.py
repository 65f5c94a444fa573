"""The RTSP transport of OpenCV's FFmpeg: one for all cameras that are read through it.

OpenCV takes such options from an environment variable, which it reads at every open. So cameras that share
it must want the same, and it changes only when none is left that wants another one.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from functools import lru_cache

from edge_app.errors import ConfigError

logger = logging.getLogger(__name__)

OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_TRANSPORTS = ("tcp", "udp")
_lock = threading.Lock()


def common_transport(wanted: Mapping[str, str | None]) -> str | None:
    """Return the transport of all cameras that share one; None: there is no such camera.

    Args:
        wanted: By camera tcp or udp; None for cameras that do not share it.

    Raises:
        ConfigError: They want different ones.
    """
    cameras = {each: [name for name, one in wanted.items() if one == each] for each in _TRANSPORTS}
    found = [each for each in _TRANSPORTS if cameras[each]]
    if len(found) > 1:
        raise ConfigError(
            f"RTSP cameras use both tcp ({', '.join(cameras['tcp'])}) and udp ({', '.join(cameras['udp'])}); "
            "OpenCV's FFmpeg takes one transport for all of them",
            hint="set the same transport for all RTSP cameras; an OpenCV with GStreamer can do both at once",
        )
    return found[0] if found else None


def claim_transport(transport: str) -> None:
    """Have FFmpeg carry RTSP over `transport` (tcp or udp) and ask for the video track alone.

    Raises:
        ConfigError: The other transport was claimed before.
    """
    found = os.environ.setdefault(OPTIONS_VARIABLE, _rtsp_options(transport))
    claimed = _transport_of(found)
    if claimed is None:
        _warn_of_environment(transport)
    elif claimed != transport:
        raise ConfigError(
            f"OpenCV's FFmpeg takes one RTSP transport for all cameras, and another one uses {claimed}",
            hint="set the same transport for all RTSP cameras; an OpenCV with GStreamer can do both at once",
        )


def change_transport(transport: str) -> None:
    """Have FFmpeg carry RTSP over another transport from the next open on.

    Of the cameras that claimed the one before, none may be left. Where the variable is the user's, it stays.
    """
    with _lock:
        # glibc exchanges the pointer of a variable that is there, and keeps the old text: others may read.
        if _transport_of(os.environ.get(OPTIONS_VARIABLE, "")) is not None:
            os.environ[OPTIONS_VARIABLE] = _rtsp_options(transport)
    claim_transport(transport)


def usable_transport(wanted: str) -> str:
    """Return the transport that `claim_transport` grants: the one that was claimed before, if any."""
    return _transport_of(os.environ.get(OPTIONS_VARIABLE, "")) or wanted


def _transport_of(options: str) -> str | None:
    return next((each for each in _TRANSPORTS if options == _rtsp_options(each)), None)


def _rtsp_options(transport: str) -> str:
    return f"rtsp_transport;{transport}|allowed_media_types;video"


@lru_cache
def _warn_of_environment(transport: str) -> None:
    logger.warning(
        "%s is set in the environment and decides the RTSP transport, not %s", OPTIONS_VARIABLE, transport
    )
