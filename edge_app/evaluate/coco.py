"""A folder of images with a file of instances in COCO's format, as a data set."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_app.evaluate.datasets import DatasetError, GroundTruth, Image, Sample, ids_of_labels

Truths = list[tuple[list[float], int, bool]]
"""Of one image: xyxy, class id, and whether it is a crowd."""


class CocoDataset:
    """A folder of images with a file of instances in COCO's format (https://cocodataset.org/#format-data).

    `iscrowd` regions are crowds; segmentations and areas are not looked at. Images come by ascending id.

    Args:
        labels: The model's labels.
        instances: JSON file with `images`, `annotations` and `categories`.
        folder: Where the images lie.

    Raises:
        DatasetError: The file or an image is missing, the file is damaged, or no category is a label.
    """

    def __init__(self, labels: Sequence[str], instances: Path, folder: Path) -> None:
        self._instances, self._folder = instances, folder
        content = _read_instances(instances)
        categories = _by_id(instances, "categories", content["categories"], ("name",))
        names = [str(category["name"]) for category in categories.values()]
        ids = ids_of_labels(names, labels, str(instances))
        self._class_ids = dict(zip(categories, ids, strict=True))
        self._images = _by_id(instances, "images", content["images"], ("file_name",))
        self._truths = self._collect(content["annotations"])
        self._require_images()

    @property
    def description(self) -> str:
        """What it is, in a few words."""
        return f"{self._instances.name} with the images of {self._folder.name}"

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Sample]:
        for image_id, image in sorted(self._images.items()):
            yield self._sample(image, self._truths.get(image_id, []))

    def _collect(self, annotations: Sequence[Any]) -> dict[int, Truths]:
        truths: dict[int, Truths] = {}
        for index, annotation in enumerate(annotations):
            where = f"{self._instances}: annotations[{index}]"
            if not isinstance(annotation, dict):
                raise DatasetError(f"{where}: expected an object, found {annotation!r:.80}")
            image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
            if not isinstance(image_id, int) or image_id not in self._images:
                raise DatasetError(f"{where}: image_id {image_id!r} is not among the images")
            if not isinstance(category_id, int) or category_id not in self._class_ids:
                raise DatasetError(f"{where}: category_id {category_id!r} is not among the categories")
            box = _box(where, annotation.get("bbox"))
            class_id = self._class_ids[category_id]
            if class_id is not None:
                truths.setdefault(image_id, []).append((box, class_id, bool(annotation.get("iscrowd", 0))))
        return truths

    def _require_images(self) -> None:
        if not self._images:
            raise DatasetError(f"{self._instances}: there are no images in it")
        missing = [
            str(image["file_name"])
            for image in self._images.values()
            if not (self._folder / str(image["file_name"])).is_file()
        ]
        if missing:
            raise DatasetError(
                f"{self._folder}: {len(missing)} of {len(self._images)} images are missing, "
                f"such as {missing[0]}",
                hint=f"Give the folder that the file names in {self._instances.name} start from.",
            )

    def _sample(self, image: Mapping[str, Any], truths: Truths) -> Sample:
        name = str(image["file_name"])
        crowd = np.array([is_crowd for _, _, is_crowd in truths], bool)
        return Sample(
            name,
            lambda: self._load(self._folder / name, image),
            GroundTruth(
                np.array([box for box, _, _ in truths], np.float64).reshape(-1, 4),
                np.array([class_id for _, class_id, _ in truths], np.int64),
                crowd,
                crowd,
            ),
        )

    def _load(self, path: Path, described: Mapping[str, Any]) -> Image:
        # Not imread, which writes warnings of its own and cannot tell a missing file from a damaged one.
        try:
            content = np.fromfile(path, np.uint8)
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read: {error.strerror}") from None
        image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
        if image is None:
            raise DatasetError(f"{path}: not an image, or damaged")
        height, width = image.shape[:2]
        expected = (described.get("width", width), described.get("height", height))
        if (width, height) != expected:
            raise DatasetError(
                f"{path}: is {width}x{height}, but {self._instances.name} says {expected[0]}x{expected[1]}",
                hint="Boxes would not fit; use the images that were annotated.",
            )
        return np.asarray(image, np.uint8)


def _read_instances(path: Path) -> Mapping[str, Sequence[Any]]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DatasetError(f"{path}: not JSON: {error}") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DatasetError(
                f"{path}: has no list {key!r}",
                hint="A file of COCO instances has images, annotations and categories.",
            )
    return dict(content)


def _by_id(
    path: Path, key: str, entries: Sequence[Any], required: Sequence[str]
) -> dict[int, Mapping[str, Any]]:
    found: dict[int, Mapping[str, Any]] = {}
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int):
            raise DatasetError(f"{path}: {key}[{index}] has no number 'id'")
        for name in required:
            if not isinstance(entry.get(name), str):
                raise DatasetError(f"{path}: {key}[{index}] has no {name!r}")
        if entry["id"] in found:
            raise DatasetError(f"{path}: {key}[{index}]: id {entry['id']} is there twice")
        found[entry["id"]] = entry
    return found


def _box(where: str, xywh: object) -> list[float]:
    good = (
        isinstance(xywh, list)
        and len(xywh) == 4
        and all(isinstance(value, int | float) and math.isfinite(value) for value in xywh)
        and min(xywh[2:]) >= 0
    )
    if not good or not isinstance(xywh, list):
        raise DatasetError(f"{where}: bbox must be [x, y, width, height] in pixels, found {xywh!r:.80}")
    x, y, width, height = map(float, xywh)
    return [x, y, x + width, y + height]
