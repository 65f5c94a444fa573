"""From capture to the lanes of each camera's model."""

from __future__ import annotations

from collections.abc import Mapping

from edge_app.errors import ChannelClosed
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
        lanes = self._lanes.get(frame.info.camera_id)
        if lanes is None:
            frame.release()
            raise ChannelClosed
        lanes.put(frame)

    def finish(self, camera_id: str) -> None:
        """Say that this camera will send no more frames."""
        lanes = self._lanes.get(camera_id)
        if lanes is not None:
            lanes.finish(camera_id)

    def lead(self, camera_id: str, lanes: FrameLanes | None) -> None:
        """Let a camera's frames go into other lanes from now on; None: nobody takes them."""
        if lanes is None:
            self._lanes.pop(camera_id, None)
        else:
            self._lanes[camera_id] = lanes
