"""Pictures to calibrate with come from whatever a camera can be, evenly spread."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.app.engine_frames import as_frame, rendered_images, source_images
from edge_app.errors import CaptureError


def write_folder(folder: Path, count: int) -> str:
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((32, 48, 3), number * 10, np.uint8))
    return str(folder)


def shades(uri: str, count: int) -> list[int]:
    return [round(float(image.mean()) / 10) for image in source_images(uri, count)]


@pytest.mark.parametrize(
    ("count", "numbers"),
    [(4, [0, 2, 5, 7]), (3, [0, 3, 6]), (10, list(range(10))), (99, list(range(10))), (1, [0])],
)
def test_a_folder_is_looked_at_evenly(tmp_path: Path, count: int, numbers: list[int]) -> None:
    assert shades(write_folder(tmp_path / "images", 10), count) == numbers


def test_a_film_is_looked_at_evenly(tmp_path: Path) -> None:
    path = str(tmp_path / "film.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10, (48, 32))
    for number in range(20):
        writer.write(np.full((32, 48, 3), number * 10, np.uint8))
    writer.release()
    assert shades(path, 5) == [0, 4, 8, 12, 16]


def test_a_scene_that_ends_is_looked_at_evenly() -> None:
    images = list(source_images("scene://street?seed=1&size=320x192&fps=10&live=false&frames=6", 3))
    assert [image.shape for image in images] == [(192, 320, 3)] * 3
    assert not np.array_equal(images[0], images[1])


def test_pictures_are_copies(tmp_path: Path) -> None:
    images = list(source_images(write_folder(tmp_path / "images", 3), 3))
    assert [int(image[0, 0, 0]) for image in images] == [0, 10, 20]


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images", 0)
    with pytest.raises(CaptureError, match="there are no pictures at"):
        list(source_images(folder, 3))


def test_rendered_scenes_differ() -> None:
    first, second = rendered_images(2)
    assert first.shape == second.shape == (720, 1280, 3)
    assert not np.array_equal(first, second)
    assert (as_frame(first).info.width, as_frame(first).info.height) == (1280, 720)
