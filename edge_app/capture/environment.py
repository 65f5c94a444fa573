"""What OpenCV and FFmpeg are told through environment variables, before they first look.

What the user has set stays as it is.
"""

from __future__ import annotations

import os
import sys

_VARIABLES = {
    # Their own messages may hold a camera's credentials; what people need to know is said by us.
    "OPENCV_LOG_LEVEL": "SILENT",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",  # AV_LOG_QUIET
    # Otherwise OpenCV (from 4.8) opens one FFmpeg capture at a time: a silent camera holds up all others.
    "OPENCV_FFMPEG_IS_THREAD_SAFE": "1",
}


def prepare_opencv() -> None:
    """Set the variables; repeat the log level by a call where OpenCV is loaded already."""
    quiet = "OPENCV_LOG_LEVEL" not in os.environ
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    if quiet and "cv2" in sys.modules:
        cv2 = sys.modules["cv2"]
        # The call has had two places, and takes 0 for silence in both.
        logging = getattr(getattr(cv2, "utils", None), "logging", cv2)
        logging.setLogLevel(0)
