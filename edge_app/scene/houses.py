"""House fronts: painted flat, then laid into the picture in perspective."""

from __future__ import annotations

import cv2
import numpy as np

from edge_app.scene.camera import Camera, Floats, clip
from edge_app.scene.drawing import SHIFT, Image, fixed
from edge_app.scene.layout import House, Street
from edge_app.scene.light import Light

PIXELS_PER_M = 26
STOREY_M = 3.2
DEPTH_M = 11.0
WALLS = np.array(
    [
        (150, 168, 188), (170, 190, 205), (96, 116, 160), (74, 90, 140), (190, 200, 206), (150, 158, 160),
        (128, 160, 184), (178, 176, 170), (112, 128, 132), (160, 196, 222),
    ],
    dtype=np.float64,
)  # fmt: skip
SIGNS = np.array(
    [(50, 44, 170), (150, 90, 30), (60, 120, 50), (40, 40, 40), (60, 170, 220), (140, 60, 110)], float
)


def paint_houses(image: Image, camera: Camera, street: Street, light: Light) -> None:
    """Paints all fronts and side walls, far to near."""
    for house in sorted(street.houses, key=lambda house: -abs((house.x0 + house.x1) / 2)):
        y = street.front_y[house.side]
        if (camera.position[1] - y) * house.side < -0.5:
            _paint_house(image, camera, light, house, y)


def _paint_house(image: Image, camera: Camera, light: Light, house: House, y: float) -> None:
    rng = np.random.default_rng(house.seed)
    wall = WALLS[rng.integers(len(WALLS))] * rng.uniform(0.8, 1.08)
    back = y + house.side * DEPTH_M
    tall = house.height_m
    x = house.x0 if house.x0 > 0 else house.x1
    flank = np.array([(x, y, 0.0), (x, back, 0.0), (x, back, tall), (x, y, tall)])
    view = clip(camera, camera.to_view(flank))
    if len(view) >= 3 and (house.x0 > 0.0 or house.x1 < 0.0):
        normal = np.array([-np.sign(x), 0.0, 0.0])
        colour = light.fade(light.shade(wall * 0.95, normal), float(view[:, 2].mean()))
        cv2.fillConvexPoly(image, fixed(camera.to_image(view)), colour.tolist(), cv2.LINE_AA, SHIFT)
    # The part of the front that lies before the camera; depth is linear along x.
    depths = camera.to_view(np.array([(house.x0, y, 0.0), (house.x1, y, 0.0)]))[:, 2]
    x0, x1 = house.x0, house.x1
    if depths.max() < 2.0:
        return
    if depths.min() < 1.0:
        cut = x0 + (x1 - x0) * (1.0 - depths[0]) / (depths[1] - depths[0])
        x0, x1 = (cut, x1) if depths[0] < depths[1] else (x0, cut)
    front = _front(rng, house, wall, light, np.array([0.0, -float(house.side), 0.0]))
    left, right = round((x0 - house.x0) * PIXELS_PER_M), round((x1 - house.x0) * PIXELS_PER_M)
    front = front[:, max(left, 0) : max(right, left + 2)]
    if front.shape[1] < 2:
        return
    _lay(image, front, camera, light, x0, x1, y, tall)


def _lay(
    image: Image, front: Image, camera: Camera, light: Light, x0: float, x1: float, y: float, tall: float
) -> None:
    corners = np.array([(x0, y, tall), (x1, y, tall), (x1, y, 0.0), (x0, y, 0.0)])
    view = camera.to_view(corners)
    target, shown = camera.to_image(view), clip(camera, view)
    if len(shown) < 3:
        return
    outline = camera.to_image(shown)
    low = np.clip(np.floor(outline.min(axis=0)) - 1, 0, (camera.width, camera.height)).astype(int)
    high = np.clip(np.ceil(outline.max(axis=0)) + 1, 0, (camera.width, camera.height)).astype(int)
    if (high - low).min() < 2:
        return
    shrink = float(np.ptp(target[:, 1])) / front.shape[0]
    if shrink < 0.8:
        size = (max(round(front.shape[1] * shrink), 2), max(round(front.shape[0] * shrink), 2))
        front = np.asarray(cv2.resize(front, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    hazy = light.fade(
        front.astype(np.float64), np.linspace(view[0, 2], view[1, 2], front.shape[1])[None, :, None]
    )
    height, width = front.shape[:2]
    source = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    warp = cv2.getPerspectiveTransform(source, (target - low).astype(np.float32))
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    laid = cv2.warpPerspective(
        hazy.astype(np.uint8), warp, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillConvexPoly(mask, fixed(outline - low), 255, cv2.LINE_8, SHIFT)
    cv2.copyTo(laid, mask, image[low[1] : high[1], low[0] : high[0]])


def _front(rng: np.random.Generator, house: House, wall: Floats, light: Light, normal: Floats) -> Image:
    """The front of one house, PIXELS_PER_M pixels a metre, lit."""
    width, height = round((house.x1 - house.x0) * PIXELS_PER_M), round(house.height_m * PIXELS_PER_M)
    canvas = np.empty((height, width, 3), np.float64)
    canvas[:] = wall
    if rng.random() < 0.4:
        canvas[:: max(PIXELS_PER_M // 7, 2)] *= 0.9  # courses of brick
    canvas *= (
        1.0
        + cv2.resize(rng.normal(0, 0.05, (8, 8)), (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    )
    glass, frame = np.array((92.0, 80.0, 66.0)) * rng.uniform(0.8, 1.5), WALLS[rng.integers(len(WALLS))] * 1.1
    storeys = max(int((house.height_m - 3.6) / STOREY_M), 1)
    columns = max(int((house.x1 - house.x0) / rng.uniform(2.0, 3.2)), 2)
    pitch = width / columns
    wide, tall = int(pitch * rng.uniform(0.4, 0.68)), int(rng.uniform(1.4, 2.0) * PIXELS_PER_M)
    glowing = np.zeros((height, width), bool)
    for storey in range(storeys):
        top = height - int((3.9 + (storey + 0.85) * STOREY_M) * PIXELS_PER_M) + PIXELS_PER_M
        for column in range(columns):
            left = int((column + 0.5) * pitch - wide / 2)
            _window(canvas, glowing, (left, max(top, 3), wide, tall), glass, frame, light, rng)
    canvas[: PIXELS_PER_M // 3] = wall * 0.7
    _ground_floor(canvas, glowing, wall, glass, light, rng)
    lit = canvas * (light.shade(np.full(3, 100.0), normal) / 100.0)
    lit[glowing] = canvas[glowing]
    return np.clip(lit, 0, 255).astype(np.uint8)


def _window(
    canvas: Floats,
    glowing: np.ndarray[tuple[int, int], np.dtype[np.bool_]],
    area: tuple[int, int, int, int],
    glass: Floats,
    frame: Floats,
    light: Light,
    rng: np.random.Generator,
) -> None:
    x, y, wide, tall = area
    canvas[y - 2 : y + tall + 4, x - 2 : x + wide + 2] = np.minimum(frame, 235)
    pane = glass * rng.uniform(0.75, 1.3)
    if light.lamps > 0.3 and rng.random() < 0.35 * light.lamps:
        pane = np.array((110.0, 185.0, 225.0)) * rng.uniform(0.5, 1.0)
        glowing[y : y + tall, x : x + wide] = True
    canvas[y : y + tall, x : x + wide] = pane
    canvas[y : y + tall // 3, x : x + wide] = np.minimum(pane * 1.25, 255)
    canvas[y : y + tall, x + wide // 2 - 1 : x + wide // 2 + 1] = np.minimum(frame, 235)


def _ground_floor(
    canvas: Floats,
    glowing: np.ndarray[tuple[int, int], np.dtype[np.bool_]],
    wall: Floats,
    glass: Floats,
    light: Light,
    rng: np.random.Generator,
) -> None:
    """A shop with its sign and window, or a plain wall with a door and windows."""
    height, width = canvas.shape[:2]
    base = height - int(3.3 * PIXELS_PER_M)
    door = PIXELS_PER_M
    if rng.random() < 0.55:
        canvas[base:, :] = wall * 0.6
        sign = SIGNS[rng.integers(len(SIGNS))]
        canvas[base + 4 : base + 20, 6 : width - 6] = sign
        letters = rng.integers(10, max(width - 20, 11), 14)
        for x in letters:
            canvas[base + 8 : base + 16, x : x + 5] = np.minimum(sign + 120, 240)
        shop = np.array((150.0, 200.0, 225.0)) * 0.85 if light.lamps > 0.3 else glass * 1.2
        canvas[base + 24 : height - 14, 10 : width - door - 20] = shop
        glowing[base + 24 : height - 14, 10 : width - door - 20] = light.lamps > 0.3
        for x in range(10, width - door - 20, 2 * PIXELS_PER_M):
            canvas[base + 24 : height - 14, x : x + 3] = wall * 0.5
    else:
        for x in range(PIXELS_PER_M, width - 3 * PIXELS_PER_M, 3 * PIXELS_PER_M):
            _window(
                canvas,
                glowing,
                (x, base + 24, int(1.3 * PIXELS_PER_M), int(1.4 * PIXELS_PER_M)),
                glass,
                wall * 0.8,
                light,
                rng,
            )
        canvas[height - 12 :] = wall * 0.55
    colour = SIGNS[rng.integers(len(SIGNS))]
    canvas[height - int(2.2 * PIXELS_PER_M) :, width - door - 12 : width - 12] = colour
    canvas[
        height - int(1.9 * PIXELS_PER_M) : height - int(1.1 * PIXELS_PER_M), width - door - 6 : width - 18
    ] = glass
