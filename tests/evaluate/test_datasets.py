"""Rendered scenes as a data set: the same every time, in the model's own class ids."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.evaluate.datasets import DatasetError, SceneDataset
from edge_app.scene import LABELS, StreetScene


def scenes(labels: tuple[str, ...] = LABELS, **changes: int) -> SceneDataset:
    return SceneDataset(labels, seeds=range(5, 7), frames=3, width=320, height=192, **changes)


def test_scenes_are_seeds_times_frames_and_equal_each_time() -> None:
    dataset = scenes()
    first, second = list(dataset), list(dataset)
    assert len(dataset) == len(first) == len(second) == 6
    assert len({sample.name for sample in first}) == 6
    for one, other in zip(first, second, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.load(), other.load())
        np.testing.assert_array_equal(one.truth.xyxy, other.truth.xyxy)


def test_a_sample_is_the_scene_at_its_moment() -> None:
    samples = list(scenes(spacing_s=2))
    scene = StreetScene(seed=6, width=320, height=192, fps=0.5)
    image = samples[4].load()
    assert samples[4].name == "seed 6 frame 1"
    assert image.shape == (192, 320, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, scene.render(1))
    truth = scene.truth(1)
    assert len(truth.class_id) > 0
    np.testing.assert_array_equal(samples[4].truth.xyxy, truth.xyxy)
    np.testing.assert_array_equal(samples[4].truth.class_id, truth.class_id)
    np.testing.assert_array_equal(samples[4].truth.ignore, truth.ignore)
    assert not samples[4].truth.crowd.any()


def test_truths_are_in_the_models_class_ids_and_without_what_it_has_no_name_for() -> None:
    model_labels = ("dog", "boat", "person", "bus", "car", "bicycle")  # no truck, another order
    plain = list(scenes())
    mapped = list(scenes(model_labels))
    seen = set()
    for one, other in zip(plain, mapped, strict=True):
        names = [LABELS[index] for index in one.truth.class_id]
        assert [model_labels[index] for index in other.truth.class_id] == [n for n in names if n != "truck"]
        np.testing.assert_array_equal(
            other.truth.xyxy, one.truth.xyxy[np.array([name != "truck" for name in names], bool)]
        )
        seen.update(names)
    assert len(seen) > 1


def test_a_model_without_any_of_the_labels_is_told_both_lists() -> None:
    with pytest.raises(DatasetError, match=r"\(person, bicycle, .*\) is a label of the model \(cat, boat\)"):
        scenes(("cat", "boat"))
    with pytest.raises(DatasetError, match=r"label of the model \(it has none\)"):
        scenes(())


def test_the_description_says_what_was_rendered() -> None:
    assert scenes().description == "rendered street scenes, seeds 5 to 6, 3 frames of each, 320x192"
