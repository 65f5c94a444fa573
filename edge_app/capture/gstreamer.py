"""Whether OpenCV can use GStreamer here, which elements there are, and how a pipeline is opened."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import cv2

from edge_app.capture.opencv import Opening
from edge_app.capture.pipelines import Pipeline
from edge_app.files.child_environment import child_environment

_LISTED = re.compile(r"^[\w-]+:  ([\w-]+): ", re.MULTILINE)
_INSPECT_TIMEOUT_S = 30.0
"""The first call after an installation scans every plugin."""

_PLUGINS = {
    "libgstapp.so": ("appsink",),
    "libgstlibav.so": ("avdec_h264", "avdec_h265"),
    "libgstcoreelements.so": ("funnel",),
    "libgstjpeg.so": ("jpegdec",),
    "libgstnvarguscamerasrc.so": ("nvarguscamerasrc",),
    "libgstnvvidconv.so": ("nvvidconv",),
    "libgstnvvideo4linux2.so": ("nvv4l2decoder",),
    "libgstplayback.so": ("decodebin",),
    "libgstrtp.so": ("rtph264depay", "rtph265depay"),
    "libgstrtsp.so": ("rtspsrc",),
    "libgstvideo4linux2.so": ("v4l2src",),
    "libgstvideoconvert.so": ("videoconvert",),
    "libgstvideoconvertscale.so": ("videoconvert",),
    "libgstvideoparsersbad.so": ("h264parse", "h265parse"),
}
"""Where our elements live, for machines without gst-inspect-1.0."""


@lru_cache(maxsize=1)
def opencv_has_gstreamer() -> bool:
    """Whether this OpenCV was built with GStreamer: JetPack's and Debian's are, PyPI's is not."""
    return re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) is not None


@lru_cache(maxsize=1)
def available_elements() -> frozenset[str]:
    """Return the names of the GStreamer elements of this machine."""
    inspect = shutil.which("gst-inspect-1.0")
    if inspect is None:
        return elements_of_plugins([*Path("/usr/lib").glob("*/gstreamer-1.0/*.so")])
    try:
        listing = subprocess.run(
            [inspect],
            env=child_environment(),
            capture_output=True,
            text=True,
            timeout=_INSPECT_TIMEOUT_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return frozenset(_LISTED.findall(listing))


def elements_of_plugins(files: list[Path]) -> frozenset[str]:
    """Return those of the elements that we use that the plugin files hold."""
    return frozenset(element for file in files for element in _PLUGINS.get(file.name, ()))


def pipeline_opening(pipeline: Pipeline, *, explain: Callable[[], str]) -> Opening:
    """Say how a pipeline is opened. Its positions are not passed on: OpenCV calls them unreliable."""
    return Opening(
        target=pipeline.text,
        api="CAP_GSTREAMER",
        parameters=(),
        decoder=pipeline.decoder,
        live=True,
        nv12=pipeline.nv12,
        explain=explain,
    )
