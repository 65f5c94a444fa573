"""What was published is held against the truth of the frame that each message is about."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_app.evaluate.live import LiveAccuracy
from edge_app.scene import LABELS, StreetScene

FPS = 30.0


def scene(seed: int) -> StreetScene:
    return StreetScene(seed=seed, width=320, height=192, fps=FPS)


def message(camera: str, index: int, xyxy: NDArray[Any], class_id: NDArray[Any]) -> dict[str, Any]:
    """The parts of a published message that matter here; class ids are of some other model."""
    return {
        "schema": "edge.detections/1.1",
        "camera": camera,
        "media_time_s": round(index / FPS, 6),
        "image": {"width": 320, "height": 192},
        "objects": [
            {"class_id": 40 + row, "label": LABELS[which], "confidence": 0.9, "box_xyxy": box.tolist()}
            for row, (box, which) in enumerate(zip(xyxy, class_id, strict=True))
        ],
    }


def perfect(camera: str, street: StreetScene, index: int) -> dict[str, Any]:
    truth = street.truth(index)
    return message(camera, index, truth.xyxy, truth.class_id)


def test_the_truth_itself_is_worth_one_whatever_frames_arrive() -> None:
    streets = {"north": scene(5), "south": scene(6)}
    accuracy = LiveAccuracy(streets)
    # 100/30 s and 1/30 s are not whole in binary; the index must still be found.
    for index in (100, 1, 7, 301):
        for camera, street in streets.items():
            assert accuracy.add(perfect(camera, street, index))
    result = accuracy.result()
    assert len(accuracy) == result.images == 8
    assert result.truths > 0
    assert result.map50 == result.map50_95 == pytest.approx(1.0)


def test_detections_of_another_moment_or_camera_are_worth_less() -> None:
    street = scene(5)
    late = LiveAccuracy({"north": scene(5)})
    elsewhere = LiveAccuracy({"north": scene(6)})
    for index in range(0, 300, 60):
        truth = street.truth(index)
        late.add(message("north", index + 90, truth.xyxy, truth.class_id))
        elsewhere.add(message("north", index, truth.xyxy, truth.class_id))
    for accuracy in (late, elsewhere):
        map50 = accuracy.result().map50
        assert map50 is not None
        assert map50 < 0.6


def test_what_is_not_published_is_missed() -> None:
    street = scene(5)
    accuracy = LiveAccuracy({"north": street})
    for index in (0, 60):
        accuracy.add(message("north", index, np.zeros((0, 4)), np.zeros(0, int)))
    result = accuracy.result()
    assert result.truths > 0
    assert (result.map50, result.detections) == (0.0, 0)


def test_other_cameras_and_unknown_labels_are_left_out() -> None:
    street = scene(5)
    accuracy = LiveAccuracy({"north": street})
    assert not accuracy.add(perfect("elsewhere", street, 0))
    told = perfect("north", street, 0)
    told["objects"].append({"class_id": 3, "label": "boat", "confidence": 0.9, "box_xyxy": [0, 0, 9, 9]})
    assert accuracy.add(told)
    result = accuracy.result()
    assert result.images == 1
    assert result.detections == len(told["objects"]) - 1


def test_a_long_run_is_judged_on_frames_spread_evenly() -> None:
    street = scene(5)
    accuracy = LiveAccuracy({"north": street}, most_frames=4)
    empty = np.zeros((0, 4)), np.zeros(0, int)
    for index in range(10):
        accuracy.add(message("north", index, *empty) if index in (1, 2) else perfect("north", street, index))
    result = accuracy.result()  # 0, 3, 6, 9
    assert (len(accuracy), result.images) == (10, 4)
    assert result.map50 == pytest.approx(1.0)


def test_nothing_added_gives_no_figure() -> None:
    assert LiveAccuracy({"north": scene(5)}).result().map50 is None


def test_a_message_that_cannot_be_placed_is_refused() -> None:
    street = scene(5)
    accuracy = LiveAccuracy({"north": street})
    told = perfect("north", street, 0)
    with pytest.raises(ValueError, match="has no media_time_s"):
        accuracy.add({**told, "media_time_s": None})
    with pytest.raises(ValueError, match="shows 320x192, its message says 640x384"):
        accuracy.add({**told, "image": {"width": 640, "height": 384}})
