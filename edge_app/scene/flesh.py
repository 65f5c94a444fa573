"""Jointed figures: thick tapered lines between 3-D joints, many of them projected at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_app.scene.camera import Camera, Floats
from edge_app.scene.drawing import SHIFT, Colour, capsules, fixed
from edge_app.scene.light import Light

Point = tuple[float, float, float]


class Flesh:
    """Thick lines in local coordinates, in painting order."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, ...]] = []  # start x y z, end x y z, the radius at each, in metres
        self.colours: list[Floats] = []

    def limb(self, start: Point, end: Point, radii: tuple[float, float], colour: Floats) -> None:
        """A thick line from `start` to `end` with a radius at each."""
        self.lines.append((*start, *end, *radii))
        self.colours.append(colour)


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A figure in the image: polygons with their colours, and the box around them."""

    polygons: list[NDArray[np.int32]]
    colours: list[Colour]
    xyxy: Floats


def project(
    figures: Sequence[Flesh], positions: Floats, headings: Floats, camera: Camera, light: Light
) -> list[Shape]:
    """Many figures at once; positions (N, 3) in metres, headings (N,) in radians."""
    if not figures:
        return []
    counts = np.array([len(flesh.lines) for flesh in figures])
    lines = np.array([line for flesh in figures for line in flesh.lines])
    turn = np.repeat(headings, counts)
    cosine, sine, origin = np.cos(turn), np.sin(turn), np.repeat(positions, counts, axis=0)
    local = np.stack([lines[:, :3], lines[:, 3:6]])
    x, y = local[..., 0], local[..., 1]
    view = camera.to_view(
        np.stack([x * cosine - y * sine, x * sine + y * cosine, local[..., 2]], -1) + origin
    )
    image = camera.to_image(view)
    radii = np.maximum(lines[:, 6:8].T * (camera.focal_px / np.maximum(view[..., 2], 0.6)), 0.35)
    outlines = fixed(capsules(image[0], image[1], radii[0], radii[1]))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    low = np.minimum.reduceat(outlines.min(axis=1), starts, axis=0)
    high = np.maximum.reduceat(outlines.max(axis=1), starts, axis=0)
    boxes = np.concatenate([low, high], axis=1) / (1 << SHIFT) + 0.5
    colours = light.soft(np.array([colour for flesh in figures for colour in flesh.colours]))
    tints: list[Colour] = [
        tuple(row) for row in light.fade(colours, view[..., 2].mean(axis=0)[:, None]).tolist()
    ]
    polygons = list(outlines)
    return [
        Shape(polygons[start : start + count], tints[start : start + count], box)
        for start, count, box in zip(starts.tolist(), counts.tolist(), boxes, strict=True)
    ]
