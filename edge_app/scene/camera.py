"""The pinhole camera that looks at the street.

World axes are metres: x along the street, y across it (to the left of x), z up from the ground.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEAR_M = 0.4
MARGIN = 6.0  # how far beyond the image polygons are kept, in halves of its long side


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A pose and a focal length; `axes` rows are the right, down and forward directions in the world."""

    position: Floats
    axes: Floats
    focal_px: float
    width: int
    height: int

    @classmethod
    def looking(
        cls, position: Floats, *, yaw: float, pitch: float, focal_px: float, width: int, height: int
    ) -> Camera:
        """A level camera turned `yaw` radians from x towards y and tipped down by `pitch` radians."""
        forward = np.array(
            [math.cos(pitch) * math.cos(yaw), math.cos(pitch) * math.sin(yaw), -math.sin(pitch)]
        )
        right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
        return cls(position, np.stack([right, np.cross(forward, right), forward]), focal_px, width, height)

    def to_view(self, points: Floats) -> Floats:
        """World points (..., 3) in camera axes: right, down, forward, in metres."""
        view: Floats = (points - self.position) @ self.axes.T
        return view

    def to_image(self, view: Floats) -> Floats:
        """Camera-axes points (..., 3) as image pixels (..., 2); nearer points are pulled out to NEAR_M."""
        depth = np.maximum(view[..., 2:], NEAR_M)
        image: Floats = view[..., :2] * (self.focal_px / depth)
        image += (self.width * 0.5, self.height * 0.5)
        return image

    def project(self, points: Floats) -> Floats:
        """World points (..., 3) as image pixels (..., 2)."""
        return self.to_image(self.to_view(points))

    @property
    def horizon_px(self) -> float:
        """Image row of the horizon."""
        forward = self.axes[2]
        return float(self.height * 0.5 + self.focal_px * forward[2] / math.hypot(forward[0], forward[1]))

    def sees(self, points: Floats, radii_m: Floats) -> NDArray[np.bool_]:
        """Whether balls of those radii (N,) around world points (N, 3) can touch the image."""
        right, down, forward = self.to_view(points).T
        reach, slack = np.maximum(forward, 0.0) / self.focal_px * 0.5, radii_m * 1.6
        wide = np.abs(right) < reach * self.width + slack
        tall = np.abs(down) < reach * self.height + slack
        return np.asarray(wide & tall & (forward >= NEAR_M - radii_m))


def clip(camera: Camera, polygon: Floats) -> Floats:
    """The part of a convex polygon (N, 3) in camera axes before the camera and not far beyond the image.

    Sutherland-Hodgman. It keeps projected coordinates within the 16 bits that OpenCV fills polygons with.
    """
    wide = MARGIN * 0.5 * max(camera.width, camera.height) / camera.focal_px
    planes = [
        (0.0, 0.0, 1.0, NEAR_M),
        (1.0, 0.0, wide, 0.0),
        (-1.0, 0.0, wide, 0.0),
        (0.0, 1.0, wide, 0.0),
        (0.0, -1.0, wide, 0.0),
    ]
    kept = [tuple(row) for row in polygon.tolist()]
    for a, b, c, limit in planes:
        inside = [a * x + b * y + c * z - limit for x, y, z in kept]
        before, kept = kept, []
        for number, (here, height) in enumerate(zip(before, inside, strict=True)):
            after, next_height = before[(number + 1) % len(before)], inside[(number + 1) % len(before)]
            if height >= 0.0:
                kept.append(here)
            if (height >= 0.0) != (next_height >= 0.0):
                share = height / (height - next_height)
                kept.append(tuple(p + share * (q - p) for p, q in zip(here, after, strict=True)))
    return np.array(kept).reshape(-1, 3)
