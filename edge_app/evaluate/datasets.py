"""Pictures whose objects are known, and one kind of them: rendered street scenes.

Truths are given in the class ids of the model that is evaluated, matched by name; what the model has no name
for is not asked of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_app.errors import EdgeAppError
from edge_app.scene import LABELS, StreetScene

Image = NDArray[np.uint8]


class DatasetError(EdgeAppError):
    """A data set is missing, damaged, or has nothing in common with the model."""


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """The objects of one picture.

    `xyxy` is (N, 4) float64 in image pixels, `class_id` (N,) an index into the model's labels. An object with
    `ignore` is neither demanded nor punished; one with `crowd` stands for many and is ignored however often
    it is found. Both are (N,) bool.
    """

    xyxy: NDArray[np.float64]
    class_id: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    crowd: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture, read or rendered only when `load` is called: (height, width, 3) uint8 BGR."""

    name: str
    load: Callable[[], Image]
    truth: GroundTruth


class Dataset(Protocol):
    """Samples in an order that is always the same."""

    @property
    def description(self) -> str:
        """What it is, in a few words."""

    def __len__(self) -> int:
        """How many samples there are."""

    def __iter__(self) -> Iterator[Sample]:
        """Walk all samples."""


class SceneDataset:
    """Rendered street scenes: `frames` moments of each seed, `spacing_s` seconds apart.

    Args:
        labels: The model's labels.
        seeds: Seeds of the scenes.
        frames: Pictures of each scene.
        width: Of a picture, in pixels.
        height: Of a picture, in pixels.
        spacing_s: Time between two pictures of a scene.

    Raises:
        DatasetError: None of the scenes' labels is one of the model's.
    """

    def __init__(
        self,
        labels: Sequence[str],
        *,
        seeds: range,
        frames: int = 10,
        width: int = 1280,
        height: int = 720,
        spacing_s: float = 1.5,
    ) -> None:
        ids = ids_of_labels(LABELS, labels, "the rendered scenes")
        self._ids = np.array([-1 if found is None else found for found in ids])
        self._seeds, self._frames = seeds, frames
        self._width, self._height = width, height
        self._spacing_s = spacing_s

    @property
    def description(self) -> str:
        """What it is, in a few words."""
        seeds = f"seeds {self._seeds[0]} to {self._seeds[-1]}" if self._seeds else "no seeds"
        size = f"{self._width}x{self._height}"
        return f"rendered street scenes, {seeds}, {self._frames} frames of each, {size}"

    def __len__(self) -> int:
        return len(self._seeds) * self._frames

    def __iter__(self) -> Iterator[Sample]:
        for seed in self._seeds:
            # One frame of the scene for each picture that is wanted of it.
            scene = StreetScene(seed=seed, width=self._width, height=self._height, fps=1 / self._spacing_s)
            for index in range(self._frames):
                yield self._sample(scene, seed, index)

    def _sample(self, scene: StreetScene, seed: int, index: int) -> Sample:
        truth = scene.truth(index)
        class_id = self._ids[truth.class_id]
        known = class_id >= 0
        return Sample(
            f"seed {seed} frame {index}",
            lambda: scene.render(index),
            GroundTruth(
                truth.xyxy[known].astype(np.float64),
                class_id[known],
                truth.ignore[known],
                np.zeros(int(known.sum()), bool),
            ),
        )


def ids_of_labels(names: Sequence[str], labels: Sequence[str], where: str) -> list[int | None]:
    """For each name the model's class id, None where the model has no such label."""
    known = {label: index for index, label in enumerate(labels)}
    ids = [known.get(name) for name in names]
    if all(class_id is None for class_id in ids):
        raise DatasetError(
            f"{where}: none of its categories ({_some(names)}) is a label of the model ({_some(labels)})",
            hint="Labels are compared letter by letter; set model.labels to the names in the data set.",
        )
    return ids


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6]) or "it has none"
    return shown if len(names) <= 6 else f"{shown}, ... {len(names)} in all"
