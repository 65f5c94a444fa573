"""How good the published detections are, where the cameras are scenes that know the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.evaluate.average_precision import ApResult, AveragePrecision
from edge_app.scene import LABELS, StreetScene


@dataclass(frozen=True, slots=True, eq=False)
class _Published:
    """The objects of one message."""

    camera: str
    index: int
    xyxy: NDArray[np.float64]
    confidence: NDArray[np.float64]
    class_id: NDArray[np.int64]


class LiveAccuracy:
    """Collects detections messages; what they are worth is worked out at the end.

    `add` only keeps the objects, because working out the truth of a frame costs milliseconds that the
    processes being watched may need.

    Args:
        scenes: By camera, scenes like those that were published: equal in seed, size and fps. The thread
            that calls `result` uses them.
        most_frames: At most so many frames are judged, evenly spread over those that were added.
    """

    def __init__(self, scenes: Mapping[str, StreetScene], *, most_frames: int = 1000) -> None:
        self._scenes = dict(scenes)
        self._most_frames = most_frames
        self._class_ids = {label: index for index, label in enumerate(LABELS)}
        self._published: list[_Published] = []

    def __len__(self) -> int:
        return len(self._published)

    def add(self, message: Mapping[str, Any]) -> bool:
        """Keep one message of the schema `edge.detections/1.1`.

        Objects with labels that no scene has are left out: there is no truth to hold them against.

        Returns:
            False if the message is of a camera that is not among the scenes.

        Raises:
            ValueError: The message does not say which frame it is about, or its image has another size.
        """
        camera = message["camera"]
        scene = self._scenes.get(camera)
        if scene is None:
            return False
        media_time_s = message.get("media_time_s")
        if media_time_s is None:
            raise ValueError(f"a message of camera {camera!r} has no media_time_s")
        size = (message["image"]["width"], message["image"]["height"])
        if size != (scene.width, scene.height):
            raise ValueError(
                f"camera {camera!r} shows {scene.width}x{scene.height}, its message says {size[0]}x{size[1]}"
            )
        objects = [found for found in message["objects"] if found["label"] in self._class_ids]
        self._published.append(
            _Published(
                camera,
                round(media_time_s * scene.fps),
                np.array([found["box_xyxy"] for found in objects], np.float64).reshape(-1, 4),
                np.array([found["confidence"] for found in objects], np.float64),
                np.array([self._class_ids[found["label"]] for found in objects], np.int64),
            )
        )
        return True

    def result(self) -> ApResult:
        """Return the average precision of what was added; takes about 4 ms for each frame that is judged."""
        judge = AveragePrecision(LABELS)
        count = min(self._most_frames, len(self._published))
        for position in np.linspace(0, len(self._published) - 1, count).round().astype(int):
            published = self._published[position]
            truth = self._scenes[published.camera].truth(published.index)
            judge.add(
                truth.xyxy,
                truth.class_id,
                truth.ignore,
                published.xyxy,
                published.confidence,
                published.class_id,
            )
        return judge.result()
