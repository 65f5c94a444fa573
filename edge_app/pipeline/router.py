"""From capture to the lanes of each camera's model."""

from __future__ import annotations

from collections.abc import Mapping

from edge_app.messages import Frame
from edge_app.pipeline.lanes import FrameLanes


class FrameRouter:
    """Hands each camera's frames to its lanes; a `FrameSink`.

    Args:
        lanes: By camera; cameras of one model share theirs.
    """

    def __init__(self, lanes: Mapping[str, FrameLanes]) -> None:
        self._lanes = dict(lanes)

    def put(self, frame: Frame) -> None:
        """Hand a frame over; see `FrameSink.put`."""
        self._lanes[frame.info.camera_id].put(frame)

    def finish(self, camera_id: str) -> None:
        """Say that this camera will send no more frames."""
        self._lanes[camera_id].finish(camera_id)
