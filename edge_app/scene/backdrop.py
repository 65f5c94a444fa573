"""Sky, ground and houses: everything behind what moves, painted once per scene."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.scene.camera import Camera, Floats, clip
from edge_app.scene.drawing import SHIFT, Image, fixed
from edge_app.scene.houses import paint_houses
from edge_app.scene.layout import LANE_M, Street
from edge_app.scene.light import Light

GROUND_NEAR_M, GROUND_FAR_M = -60.0, 500.0
UP = np.array([0.0, 0.0, 1.0])
WHITE = np.array((205.0, 210.0, 212.0))


def paint_backdrop(rng: np.random.Generator, camera: Camera, street: Street, light: Light) -> Image:
    """The empty street (height, width, 3) BGR."""
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    _paint_ground(rng, image, camera, street, light)
    _texture_ground(rng, image, camera, street, light)
    _paint_sky(rng, image, camera, light)
    paint_houses(image, camera, street, light)
    return image


def _paint_sky(rng: np.random.Generator, image: Image, camera: Camera, light: Light) -> None:
    horizon = min(max(int(camera.horizon_px), 0), camera.height)
    if horizon < 2:
        return
    rise = np.linspace(1.0, 0.0, horizon)[:, None, None] ** 1.3
    sky = light.sky_bottom * (1 - rise) + light.sky_top * rise
    coarse = rng.normal(0.0, 1.0, (5, 9)).astype(np.float32)
    fine = rng.normal(0.0, 1.0, (14, 26)).astype(np.float32)
    size = (camera.width, horizon)
    cloud = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC) * 0.7
    cloud += cv2.resize(fine, size, interpolation=cv2.INTER_CUBIC) * 0.35
    veil = np.clip(cloud * 0.5, 0.0, 0.75)[..., None] * (0.25 if light.name in ("night", "fog") else 1.0)
    shine = np.clip(light.sky_bottom * 1.12 + 6, 0, 255)
    image[:horizon] = np.clip(sky * (1 - veil) + shine * veil, 0, 255).astype(np.uint8)
    skyline = light.fade(np.array((120.0, 112.0, 108.0)) * light.ambient, light.haze_m * 1.1)
    x = 0.0
    while x < camera.width:
        wide, tall = rng.uniform(0.02, 0.07) * camera.width, rng.uniform(0.008, 0.05) * camera.focal_px
        corner = (int(x + wide), int(camera.horizon_px) + 2)
        cv2.rectangle(image, (int(x), int(camera.horizon_px - tall)), corner, skyline.tolist(), -1)
        x += wide


def _flat(image: Image, camera: Camera, points: Floats, colour: Floats) -> None:
    """Fills a polygon (N, 2) of x, y on the ground."""
    view = clip(camera, camera.to_view(np.column_stack([points, np.zeros(len(points))])))
    if len(view) >= 3:
        cv2.fillConvexPoly(image, fixed(camera.to_image(view)), colour.tolist(), cv2.LINE_AA, SHIFT)


def _bar(image: Image, camera: Camera, x0: float, x1: float, y0: float, y1: float, colour: Floats) -> None:
    _flat(image, camera, np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]), colour)


def _paint_ground(
    rng: np.random.Generator, image: Image, camera: Camera, street: Street, light: Light
) -> None:
    asphalt = np.full(3, rng.uniform(78, 122)) + rng.normal(0, 2.5, 3)
    paving = (
        np.array([(150, 156, 162), (128, 132, 138), (120, 138, 160), (168, 172, 174)])[rng.integers(4)] * 1.0
    )
    cycle = [asphalt * 1.06, np.array((78.0, 86.0, 150.0)), np.array((92.0, 128.0, 84.0))][rng.integers(3)]
    far, near = GROUND_FAR_M, GROUND_NEAR_M

    def lit(colour: Floats) -> Floats:
        return light.shade(colour, UP)

    plain = paving * 0.9 if rng.random() < 0.4 else np.array((62.0, 112.0, 88.0)) * rng.uniform(0.8, 1.2)
    image[:] = lit(plain).astype(np.uint8)
    _bar(image, camera, near, far, street.front_y[-1], street.front_y[1], lit(paving))
    _bar(image, camera, near, far, street.road_y[-1] - 0.25, street.road_y[1] + 0.25, lit(paving * 1.22))
    _bar(image, camera, near, far, street.road_y[-1], street.road_y[1], lit(asphalt))
    white = lit(WHITE * rng.uniform(0.85, 1.05))
    for strip in street.strips:
        if strip.kind == "parking":
            _bar(image, camera, near, far, strip.y0, strip.y1, lit(asphalt * 1.1))
            for x in np.arange(-12.2, 110.0, 6.4):
                _bar(image, camera, x, x + 0.1, strip.y0 + 0.3, strip.y1 - 0.3, white)
        elif strip.kind == "bike":
            _bar(image, camera, near, far, strip.y0, strip.y1, lit(cycle))
            for y in (strip.y0, strip.y1):
                _bar(image, camera, near, far, y - 0.06, y + 0.06, white)
    _lane_lines(rng, image, camera, street, white)
    if street.crossing_x is not None:
        for y in np.arange(street.road_y[-1] + 0.3, street.road_y[1] - 0.4, 1.0):
            _bar(image, camera, street.crossing_x - 2.0, street.crossing_x + 2.0, y, y + 0.5, white)
        for side in (-1, 1):
            x = street.crossing_x - 2.9 if side < 0 else street.crossing_x + 2.6
            low, high = sorted((0.0, side * LANE_M))
            _bar(image, camera, x, x + 0.3, low, high, white)


def _lane_lines(
    rng: np.random.Generator, image: Image, camera: Camera, street: Street, white: Floats
) -> None:
    double = rng.random() < 0.5
    keep_clear = street.crossing_x
    lanes = [strip for strip in street.strips if strip.kind == "lane"]
    for strip in lanes:
        edge = strip.y0
        if abs(edge) < 0.01 and double:
            for offset in (-0.12, 0.12):
                _bar(image, camera, GROUND_NEAR_M, GROUND_FAR_M, offset - 0.05, offset + 0.05, white)
        elif strip.y0 != lanes[0].y0:
            for x in np.arange(-30.0, 160.0, 6.0):
                if keep_clear is None or abs(x + 1.5 - keep_clear) > 4.5:
                    _bar(image, camera, x, x + 3.0, edge - 0.06, edge + 0.06, white)


def _texture_ground(
    rng: np.random.Generator, image: Image, camera: Camera, street: Street, light: Light
) -> None:
    """Grain, stains and paving joints in perspective, then haze."""
    top = max(int(camera.horizon_px) + 2, 0)
    if top >= camera.height:
        return
    across, down, forward = camera.axes
    columns = (np.arange(camera.width) + 0.5 - camera.width / 2) / camera.focal_px
    rows = (np.arange(top, camera.height) + 0.5 - camera.height / 2) / camera.focal_px
    depth = (camera.position[2] / np.maximum(-(forward[2] + rows * down[2]), 1e-4))[:, None]
    x = (depth * (forward[0] + columns * across[0] + rows[:, None] * down[0])).astype(np.float32)
    y = (camera.position[1] + depth * (forward[1] + columns * across[1] + rows[:, None] * down[1])).astype(
        np.float32
    )
    sharp = np.clip(14.0 / depth, 0.0, 1.0).astype(np.float32)
    grain = rng.normal(0.0, 1.0, (256, 256)).astype(np.float32)
    coarse = rng.normal(0.0, 1.0, (16, 16)).astype(np.float32)
    stains = np.asarray(cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    relief = _tiled(grain, x * 24.0, y * 24.0) * (0.035 * sharp)
    relief += _tiled(stains, x * 10.0, y * 14.0) * 0.035
    pavement = (y < street.road_y[-1] - 0.25) | (y > street.road_y[1] + 0.25)
    pitch = np.float32(rng.uniform(0.5, 1.1))
    joint = (np.abs((x / pitch) % 1.0 - 0.5) > 0.46) | (np.abs((y / pitch) % 1.0 - 0.5) > 0.46)
    relief -= (pavement & joint) * (0.13 * sharp * sharp)
    kept = np.exp(-depth / light.haze_m).astype(np.float32)[..., None]
    ground = image[top:].astype(np.float32)
    ground *= (1.0 + relief)[..., None] * kept
    ground += (1.0 - kept) * light.haze.astype(np.float32)
    image[top:] = np.clip(ground, 0, 255).astype(np.uint8)
    image[:top] = light.haze.astype(np.uint8)


def _tiled(tile: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    size = np.float32(tile.shape[0])
    sampled = cv2.remap(tile, x % size, y % size, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(sampled, dtype=np.float32)
