"""COCO folders: what is read, and what is said of a damaged one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_app.evaluate.coco import CocoDataset
from edge_app.evaluate.datasets import DatasetError

LABELS = ("car", "person")


def instances() -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "b.png", "width": 40, "height": 30},
            {"id": 3, "file_name": "day/a.png", "width": 40, "height": 30},
        ],
        "categories": [
            {"id": 1, "name": "person"},
            {"id": 18, "name": "dog"},
            {"id": 90, "name": "car"},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 90, "bbox": [1, 2, 10, 20.5], "iscrowd": 0},
            {"id": 2, "image_id": 3, "category_id": 18, "bbox": [5, 5, 5, 5], "iscrowd": 0},
            {"id": 3, "image_id": 3, "category_id": 1, "bbox": [0, 0, 30, 30], "iscrowd": 1},
        ],
    }


def write(folder: Path, content: object) -> CocoDataset:
    """Write the file and both images, then open the data set."""
    (folder / "day").mkdir(exist_ok=True)
    for value, name in ((10, "day/a.png"), (200, "b.png")):
        assert cv2.imwrite(str(folder / name), np.full((30, 40, 3), value, np.uint8))
    path = folder / "instances.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return CocoDataset(LABELS, path, folder)


def test_images_come_by_id_with_their_truths_in_the_models_class_ids(tmp_path: Path) -> None:
    dataset = write(tmp_path, instances())
    first, second = dataset
    assert len(dataset) == 2
    assert (first.name, second.name) == ("day/a.png", "b.png")
    assert (first.load()[0, 0, 0], second.load()[0, 0, 0]) == (10, 200)
    np.testing.assert_array_equal(first.truth.xyxy, [[1, 2, 11, 22.5], [0, 0, 30, 30]])
    assert first.truth.class_id.tolist() == [0, 1]
    assert first.truth.crowd.tolist() == first.truth.ignore.tolist() == [False, True]
    assert second.truth.xyxy.shape == (0, 4)
    assert dataset.description == f"instances.json with the images of {tmp_path.name}"


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    content = instances()
    change(content)
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "has no list 'images'"),
        (changed(lambda c: c.pop("annotations")), "has no list 'annotations'"),
        (changed(lambda c: c["images"].clear() or c["annotations"].clear()), "there are no images in it"),
        (changed(lambda c: c["images"][1].pop("id")), r"images\[1\] has no number 'id'"),
        (changed(lambda c: c["images"][0].pop("file_name")), r"images\[0\] has no 'file_name'"),
        (changed(lambda c: c["images"][0].update(id=3)), r"images\[1\]: id 3 is there twice"),
        (
            changed(lambda c: c["images"][0].update(file_name="c.png")),
            "1 of 2 images are missing, such as c.png",
        ),
        (changed(lambda c: c["annotations"].append(5)), r"annotations\[3\]: expected an object, found 5"),
        (
            changed(lambda c: c["annotations"][1].update(image_id=4)),
            r"annotations\[1\]: image_id 4 is not among",
        ),
        (changed(lambda c: c["annotations"][1].update(image_id=[3])), r"image_id \[3\] is not among"),
        (changed(lambda c: c["annotations"][0].update(category_id=2)), "category_id 2 is not among"),
        (changed(lambda c: c["annotations"][0].update(bbox=[1, 2, 3])), r"bbox must be .* found \[1, 2, 3\]"),
        (changed(lambda c: c["annotations"][0].update(bbox=[1, 2, -3, 4])), "bbox must be"),
        (changed(lambda c: c["annotations"][0].pop("bbox")), "bbox must be .* found None"),
        (
            changed(lambda c: [entry.update(name=entry["name"].upper()) for entry in c["categories"]]),
            r"\(PERSON, DOG, CAR\) is a label of the model \(car, person\)",
        ),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        write(tmp_path, content)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.json: cannot be read: No such file"):
        CocoDataset(LABELS, tmp_path / "nowhere.json", tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_a_damaged_image_is_named_when_its_turn_comes(tmp_path: Path, content: bytes) -> None:
    dataset = write(tmp_path, instances())
    (tmp_path / "b.png").write_bytes(content)
    first, second = dataset
    assert first.load().shape == (30, 40, 3)
    with pytest.raises(DatasetError, match=r"b\.png: not an image, or damaged"):
        second.load()


def test_an_image_of_another_size_than_was_annotated_is_refused(tmp_path: Path) -> None:
    dataset = write(tmp_path, changed(lambda c: c["images"][1].update(width=30, height=40)))
    with pytest.raises(DatasetError, match=r"is 40x30, but instances\.json says 30x40"):
        next(iter(dataset)).load()
