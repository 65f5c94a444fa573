"""How many pictures a file, a folder or a glob holds."""

from __future__ import annotations

import cv2

from edge_app.capture.images import leads_to_images, picture_paths
from edge_app.config.camera_uri import CameraKind, CameraUri


def count_pictures(uri: CameraUri) -> int | None:
    """Return how many pictures there are; None where there is no end or nobody knows.

    Of a video it is what the container says, which may be an estimate.
    """
    if uri.kind is CameraKind.SCENE:
        return uri.frames
    if uri.kind is not CameraKind.FILE:
        return None
    if leads_to_images(uri.location):
        return len(picture_paths(uri.location))
    video = cv2.VideoCapture(uri.location)
    try:
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        video.release()
    return count if count > 0 else None
