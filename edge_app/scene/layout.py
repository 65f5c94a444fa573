"""The plan of a street: strips side by side, a crossing, houses, and where the camera hangs."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from edge_app.scene.camera import Camera

LANE_M = 3.3
OVER_ROAD_M = 5.2  # a camera lower than this would be driven into by a double-decker
# The stretch of street that is peopled; the camera is at x = 0.
NEAR_X_M = -26.0
FAR_X_M = {"lane": 150.0, "bike": 100.0, "walk": 85.0, "kerb": 120.0}


@dataclass(frozen=True, slots=True)
class Strip:
    """A band along the street, y0 < y1 in metres, used in one direction (+1: to larger x) or none (0)."""

    kind: str  # lane, bike, parking, kerb, walk or crosser
    y0: float
    y1: float
    direction: int

    @property
    def middle(self) -> float:
        """The y of its middle line."""
        return (self.y0 + self.y1) / 2


@dataclass(frozen=True, slots=True)
class House:
    """A building whose front stands along the street."""

    x0: float
    x1: float
    side: int
    height_m: float
    seed: int


@dataclass(frozen=True, slots=True)
class Street:
    """The plan of one street; `side` is -1 for y < 0 and +1 for y > 0."""

    strips: tuple[Strip, ...]
    front_y: dict[int, float]  # side -> y of the house fronts
    road_y: dict[int, float]  # side -> y of the kerb
    crossing_x: float | None
    houses: tuple[House, ...]
    camera_y: float

    def order(self, x: float, y: float) -> tuple[float, float, float]:
        """Sorts far to near.

        Things in different strips are parted by a plane along the street, things in one strip by a plane
        across it, so comparing strips first and then x is right for every pose of the camera.
        """
        bands = abs(self._band(y) - self._band(self.camera_y))
        return (-float(bands), -abs(x), y)

    def _band(self, y: float) -> int:
        return bisect_right(self.strips, y, key=lambda strip: strip.y0)


def plan_street(rng: np.random.Generator, height_m: float) -> Street:
    """Draws a street for a camera that hangs `height_m` above the ground at x = 0."""
    right_hand = 1 if rng.random() < 0.7 else -1
    front_y, road_y, strips = {}, {}, []
    for side in (-1, 1):
        direction = -side * right_hand
        widths: list[tuple[str, float, int]] = [("lane", LANE_M, direction)] * int(
            rng.choice([1, 2], p=[0.7, 0.3])
        )
        if rng.random() < 0.75:
            widths.append(("bike", 1.9, direction))
        if rng.random() < 0.5:
            widths.append(("parking", 2.4, direction))
        road = sum(width for _, width, _ in widths)
        widths.append(("kerb", 1.3, 0))
        walks = int(rng.choice([1, 2], p=[0.4, 0.6]))
        widths += [("walk", 1.7, int(rng.choice([-1, 1]))) for _ in range(walks)]
        widths.append(("crosser", 1.4, 0))
        near = 0.0
        for kind, width, way in widths:
            far = near + side * width
            strips.append(Strip(kind, min(near, far), max(near, far), way))
            near = far
        front_y[side] = near + side * 0.4
        road_y[side] = side * road
    strips.sort(key=lambda strip: strip.y0)
    low = road_y[-1] - 0.6
    over_road = height_m > OVER_ROAD_M and rng.random() < 0.4
    camera_y = float(rng.uniform(low, 0.0) if over_road else rng.uniform(front_y[-1] + 0.3, low))
    crossing = float(rng.uniform(13.0, 30.0)) if rng.random() < 0.65 else None
    return Street(tuple(strips), front_y, road_y, crossing, _houses(rng), camera_y)


def _houses(rng: np.random.Generator) -> tuple[House, ...]:
    houses = []
    for side in (-1, 1):
        x = -40.0
        while x < 230.0:
            width = float(rng.uniform(8.0, 19.0))
            if rng.random() < 0.86:
                houses.append(
                    House(x, x + width, side, float(rng.uniform(6.5, 21.0)), int(rng.integers(2**31)))
                )
            x += width
    return tuple(houses)


def hang_camera(rng: np.random.Generator, width: int, height: int) -> tuple[Camera, Street]:
    """Draws a street and a camera over it, looking along the street, across it, or anything between."""
    height_m = float(rng.uniform(3.6, 7.5))
    street = plan_street(rng, height_m)
    yaw = math.radians(float(rng.uniform(8.0, 62.0)))
    spread = math.radians(float(rng.uniform(52.0, 80.0)))
    focal = max(width, height * 1.3) * 0.5 / math.tan(spread / 2)
    aim_m = float(rng.uniform(13.0, 26.0))
    camera = Camera.looking(
        np.array([0.0, street.camera_y, height_m]),
        yaw=yaw,
        pitch=math.atan2(height_m - 0.8, aim_m),
        focal_px=focal,
        width=width,
        height=height,
    )
    return camera, street
