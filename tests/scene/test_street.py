import hashlib
import subprocess
import sys

import numpy as np
import pytest

from edge_app.scene import LABELS, StreetScene

FINGERPRINT = """
import hashlib
from edge_app.scene import StreetScene
print(hashlib.sha256(StreetScene(seed=3, width=320, height=180, fps=30.0).render(77).tobytes()).hexdigest())
"""


def street(seed: int = 3, width: int = 320, height: int = 180, fps: float = 30.0) -> StreetScene:
    return StreetScene(seed=seed, width=width, height=height, fps=fps)


def test_the_labels_are_those_of_the_demo_model() -> None:
    assert LABELS == ("person", "bicycle", "car", "truck", "bus", "dog")


def test_a_frame_is_the_same_in_any_order_of_calls() -> None:
    forwards, backwards = street(), street()
    indices = [0, 1, 2, 900, 77]
    frames = {index: forwards.render(index) for index in indices}
    truths = {index: forwards.truth(index) for index in indices}
    for index in reversed(indices):
        np.testing.assert_array_equal(backwards.truth(index).xyxy, truths[index].xyxy)
        np.testing.assert_array_equal(backwards.render(index), frames[index])


def test_a_frame_is_the_same_in_another_process() -> None:
    ran = subprocess.run([sys.executable, "-c", FINGERPRINT], capture_output=True, text=True, check=True)
    here = hashlib.sha256(street().render(77).tobytes()).hexdigest()
    assert ran.stdout.strip() == here


def test_a_frame_belongs_to_its_caller() -> None:
    scene = street()
    first = scene.render(5)
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(scene.render(5), kept)


def test_another_seed_is_another_street() -> None:
    assert (street(seed=1).render(0) != street(seed=2).render(0)).mean() > 0.5


def test_the_frame_rate_sets_the_time_step() -> None:
    slow, fast = street(fps=10.0), street(fps=30.0)
    np.testing.assert_array_equal(slow.truth(20).xyxy, fast.truth(60).xyxy)


@pytest.mark.parametrize("size", [(160, 120), (320, 320), (180, 320), (1280, 720), (3840, 2160)])
def test_any_size_is_rendered(size: tuple[int, int]) -> None:
    scene = street(width=size[0], height=size[1])
    frame = scene.render(10)
    assert frame.shape == (size[1], size[0], 3)
    assert frame.dtype == np.uint8
    assert frame.std() > 10


@pytest.mark.parametrize(("width", "height", "fps"), [(8, 180, 30.0), (320, 0, 30.0), (320, 180, 0.0)])
def test_an_impossible_camera_is_refused(width: int, height: int, fps: float) -> None:
    with pytest.raises(ValueError, match=f"{width}x{height} at {fps}"):
        street(width=width, height=height, fps=fps)


def test_every_kind_of_light_and_every_label_occurs() -> None:
    lights, labels = set(), set()
    for seed in range(30):
        scene = street(seed=seed, width=160, height=120)
        lights.add(scene._light.name)
        for index in (0, 300, 600):
            truth = scene.truth(index)
            labels.update(truth.class_id[~truth.ignore].tolist())
    assert lights == {"sunny", "overcast", "dusk", "night", "fog"}
    assert labels == set(range(len(LABELS)))
