"""The rendered street: any frame of it, and the truth about that frame, from a seed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.scene.actors import Artist
from edge_app.scene.backdrop import paint_backdrop
from edge_app.scene.drawing import SHIFT, Drawing, Glow, Image
from edge_app.scene.furniture import furnish
from edge_app.scene.layout import hang_camera
from edge_app.scene.light import choose_light
from edge_app.scene.traffic import Traffic
from edge_app.scene.truth import Truth, collect

LABELS: tuple[str, ...] = ("person", "bicycle", "car", "truck", "bus", "dog")

NOISE_SLACK = 64  # how far the noise may be shifted from frame to frame, in pixels
NOISE_TILE = 512
GLOW_SIZE = 65


class StreetScene:
    """A street with its camera, light, houses and traffic, all drawn from `seed`.

    `render` and `truth` are pure functions of (seed, width, height, fps, index): the same in any order of
    calls, in any process. Frame `index` shows the moment `index / fps` seconds. One instance must not be used
    by two threads at once.
    """

    def __init__(self, *, seed: int, width: int, height: int, fps: float) -> None:
        if min(width, height) < 32 or fps <= 0:
            raise ValueError(
                f"a scene needs at least 32x32 pixels and fps above 0, got {width}x{height} at {fps}"
            )
        self.width, self.height, self.fps = width, height, fps
        self._seed = seed
        rng = np.random.default_rng([seed, 7])
        self._camera, street = hang_camera(rng, width, height)
        self._light = choose_light(rng)
        self._artist = Artist(self._camera, street, self._light)
        self._traffic = Traffic(street, seed, self._light.lamps, rng)
        self._furniture = furnish(rng, self._camera, street, self._light, self._artist)
        self._background = paint_backdrop(rng, self._camera, street, self._light)
        self._shaded = _darkened(self._background, self._light.shadow or 0.36)
        self._settle()
        self._noise = _noise_bank(rng, self._light.noise_sigma, width, height)
        self._soft = float(rng.choice([0.0, 0.0, rng.uniform(0.5, 0.9)]))
        self._glow = _gaussian_spot()
        self._latest: tuple[int, list[Drawing]] | None = None

    def render(self, index: int) -> NDArray[np.uint8]:
        """Frame `index` as a new (height, width, 3) BGR image."""
        drawings = self._drawings(index)
        image = self._background.copy()
        self._cast_shadows(image, drawings)
        for drawing in drawings:
            for pool in drawing.pools:
                self._shine(image, pool)
        self._paint(image, drawings)
        if self._soft:
            cv2.GaussianBlur(image, (3, 3), self._soft, dst=image)
        dx, dy = (index * 40503 + self._seed * 7) % NOISE_SLACK, (index * 30011) % NOISE_SLACK
        brighter, darker = (bank[dy : dy + self.height, dx : dx + self.width] for bank in self._noise)
        cv2.add(image, brighter, dst=image)
        return np.asarray(cv2.subtract(image, darker, dst=image), dtype=np.uint8)

    def truth(self, index: int) -> Truth:
        """The objects of frame `index`; costs no rendering."""
        every = sorted([*self._furniture, *self._drawings(index)], key=lambda drawing: drawing.order)
        return collect(every, self.width, self.height)

    def _drawings(self, index: int) -> list[Drawing]:
        """What moves in frame `index`, far to near."""
        latest = self._latest
        if latest is None or latest[0] != index:
            drawings = self._artist.draw(self._traffic.at(index / self.fps))
            edge = (self.width, self.height)
            shown = [d for d in drawings if (d.xyxy[:2] < edge).all() and (d.xyxy[2:] > 0).all()]
            latest = (index, sorted(shown, key=lambda drawing: drawing.order))
            self._latest = latest
        return latest[1]

    def _settle(self) -> None:
        """Paints the furniture into the background and keeps each outline, to hide what passes behind it."""
        for drawing in self._furniture:
            for pool in drawing.pools:
                _add_glow(self._background, pool, _gaussian_spot())
        self._cast_shadows(self._background, self._furniture)
        self._masks: list[tuple[slice, slice, Image]] = []
        for drawing in self._furniture:
            drawing.paint(self._background)
        for drawing in self._furniture:
            for glow in drawing.glows:
                _add_glow(self._background, glow, _gaussian_spot())
            low = np.clip(np.floor(drawing.xyxy[:2]) - 1, 0, (self.width, self.height)).astype(int)
            high = np.clip(np.ceil(drawing.xyxy[2:]) + 2, 0, (self.width, self.height)).astype(int)
            mask = np.zeros((max(high[1] - low[1], 0), max(high[0] - low[0], 0)), np.uint8)
            if mask.size:
                offset = (low * (1 << SHIFT)).astype(np.int32)
                for points, _, thickness in drawing.strokes:
                    cv2.polylines(mask, [points - offset], True, 255, thickness, cv2.LINE_8, SHIFT)
                for points in drawing.polygons:
                    cv2.fillConvexPoly(mask, points - offset, 255, cv2.LINE_8, SHIFT)
            self._masks.append((slice(low[1], high[1]), slice(low[0], high[0]), mask))
        self._boxes = np.array([drawing.xyxy for drawing in self._furniture]).reshape(-1, 4)

    def _cast_shadows(self, image: Image, drawings: list[Drawing]) -> None:
        hulls = [drawing.shadow for drawing in drawings if drawing.shadow is not None]
        if not hulls:
            return
        mask = np.zeros((self.height, self.width), np.uint8)
        for hull in hulls:
            cv2.fillConvexPoly(mask, hull, 255, cv2.LINE_8, SHIFT)
        every = np.concatenate(hulls).reshape(-1, 2) >> SHIFT
        low = np.clip(every.min(axis=0), 0, (self.width, self.height))
        high = np.clip(every.max(axis=0) + 2, 0, (self.width, self.height))
        area = (slice(low[1], high[1]), slice(low[0], high[0]))
        if mask[area].size:
            cv2.copyTo(self._shaded[area], mask[area], image[area])

    def _paint(self, image: Image, drawings: list[Drawing]) -> None:
        """Paints far to near; furniture in front of something that moved is laid over it again."""
        boxes = np.array([drawing.xyxy for drawing in drawings]).reshape(-1, 4)
        touching = (self._boxes[:, None, :2] - 2 < boxes[None, :, 2:]).all(axis=2)
        touching &= (self._boxes[:, None, 2:] + 2 > boxes[None, :, :2]).all(axis=2)
        pieces = {
            piece
            for piece, number in np.argwhere(touching).tolist()
            if self._furniture[piece].order > drawings[number].order
        }
        queue: list[tuple[tuple[float, float, float], int]] = [
            (self._furniture[n].order, -1 - n) for n in pieces
        ]
        queue += [(drawing.order, number) for number, drawing in enumerate(drawings)]
        for _, number in sorted(queue):
            if number < 0:
                rows, columns, mask = self._masks[-1 - number]
                if mask.size:
                    cv2.copyTo(self._background[rows, columns], mask, image[rows, columns])
                continue
            drawings[number].paint(image)
            for glow in drawings[number].glows:
                self._shine(image, glow)

    def _shine(self, image: Image, glow: Glow) -> None:
        _add_glow(image, glow, self._glow)


def _darkened(image: Image, share: float) -> Image:
    return np.asarray(cv2.convertScaleAbs(image, alpha=1.0 - share), dtype=np.uint8)


def _gaussian_spot() -> NDArray[np.float32]:
    axis = np.linspace(-2.4, 2.4, GLOW_SIZE, dtype=np.float32)
    bell = np.exp(-axis * axis)
    return np.asarray(bell[:, None] * bell[None, :], dtype=np.float32)


def _add_glow(image: Image, glow: Glow, spot: NDArray[np.float32]) -> None:
    """Adds a soft light, clipped to the image."""
    height, width = image.shape[:2]
    x0, x1 = round(glow.x - glow.radius_x), round(glow.x + glow.radius_x)
    y0, y1 = round(glow.y - glow.radius_y), round(glow.y + glow.radius_y)
    left, right, top, bottom = max(x0, 0), min(x1, width), max(y0, 0), min(y1, height)
    if right - left < 1 or bottom - top < 1 or x1 - x0 > 2 * width:
        return
    patch = cv2.resize(spot, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    patch = patch[top - y0 : bottom - y0, left - x0 : right - x0]
    area = image[top:bottom, left:right]
    light = cv2.merge([cv2.convertScaleAbs(patch, alpha=channel) for channel in glow.colour])
    cv2.add(area, light, dst=area)


def _noise_bank(rng: np.random.Generator, sigma: float, width: int, height: int) -> tuple[Image, Image]:
    """Sensor noise to add and to subtract, larger than a frame by NOISE_SLACK so that it can shift."""
    grey = rng.normal(0.0, sigma * 0.8, (NOISE_TILE, NOISE_TILE, 1))
    noise = grey + rng.normal(0.0, sigma * 0.6, (NOISE_TILE, NOISE_TILE, 3))
    repeats = (-(-(height + NOISE_SLACK) // NOISE_TILE), -(-(width + NOISE_SLACK) // NOISE_TILE), 1)
    rounded = np.rint(noise)
    brighter, darker = (np.clip(part, 0, 255).astype(np.uint8) for part in (rounded, -rounded))
    return np.tile(brighter, repeats), np.tile(darker, repeats)
