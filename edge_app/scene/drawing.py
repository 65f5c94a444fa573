"""What stands in the street becomes a `Drawing`: convex polygons in image pixels, painted in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.scene.camera import Camera, Floats, clip
from edge_app.scene.light import Light

Image = NDArray[np.uint8]
Colour = tuple[float, float, float]

SHIFT = 4  # fractional bits of the coordinates that OpenCV draws with
CAP_POINTS = 6  # points on each round end of a capsule
FAR_PX = 30_000.0  # OpenCV fills polygons with 16-bit whole pixels
CLOSE_M = 2.0  # faces nearer than this are clipped


@dataclass(slots=True, eq=False)
class Glow:
    """A soft light added to the picture: centre and radii in pixels, BGR colour."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    colour: Colour

    @classmethod
    def at(cls, middle: Floats, radius_x: float, radius_y: float, colour: Floats) -> Glow:
        """From arrays: the middle (2,) and the BGR colour (3,)."""
        x, y = middle.tolist()
        blue, green, red = colour.tolist()
        return cls(x, y, float(radius_x), float(radius_y), (blue, green, red))


@dataclass(slots=True, eq=False)
class Drawing:
    """One thing as the camera sees it.

    `polygons` are (N, 2) int32 in 1/16 pixel; `strokes` are closed lines painted under them (points, BGR,
    thickness in pixels). `order` sorts far to near. `class_id` is None for street furniture; drawings of one
    `group` (a bicycle and its rider) are never counted as hiding each other.
    """

    order: tuple[float, float, float]
    class_id: int | None
    polygons: list[NDArray[np.int32]]
    colours: list[Colour]
    xyxy: Floats
    group: int = -1
    strokes: list[tuple[NDArray[np.int32], Colour, int]] = field(default_factory=list)
    glows: list[Glow] = field(default_factory=list)
    pools: list[Glow] = field(default_factory=list)
    shadow: NDArray[np.int32] | None = None

    def paint(self, image: Image) -> None:
        """Paints over `image` in place."""
        for points, colour, thickness in self.strokes:
            cv2.polylines(image, [points], True, colour, thickness, cv2.LINE_AA, SHIFT)
        for points, colour in zip(self.polygons, self.colours, strict=True):
            cv2.fillConvexPoly(image, points, colour, cv2.LINE_AA, SHIFT)

    def hull(self) -> NDArray[np.int32]:
        """The outline (N, 1, 2) int32 in 1/16 pixel."""
        parts = [*self.polygons, *(points for points, _, _ in self.strokes)]
        return np.asarray(cv2.convexHull(np.concatenate(parts)), dtype=np.int32)


def fixed(points: Floats) -> NDArray[np.int32]:
    """Pixels as OpenCV's fixed-point coordinates, where whole numbers are pixel centres."""
    limited = np.clip(points, -FAR_PX, FAR_PX)
    return np.rint((limited - 0.5) * (1 << SHIFT)).astype(np.int32)


def extent(points: Sequence[NDArray[np.int32]]) -> Floats:
    """The box (4,) in pixels around fixed-point polygons."""
    every = np.concatenate(points)
    low, high = every.min(axis=0), every.max(axis=0)
    return np.concatenate([low, high]) / (1 << SHIFT) + 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """A rigid body of convex faces. Index rows of `faces` are padded by repeating their last vertex."""

    vertices: Floats  # (V, 3)
    faces: NDArray[np.intp]  # (F, K)
    colours: Floats  # (F, 3) BGR
    normals: Floats  # (F, 3)
    emissive: NDArray[np.bool_]  # (F,) shines by itself
    detail: NDArray[np.bool_]  # (F,) left out where the thing is small


class MeshBuilder:
    """Collects faces in painting order. Every face is turned to look along its `out` direction."""

    def __init__(self) -> None:
        self._points: list[Floats] = []
        self._colours: list[Floats] = []
        self._normals: list[Floats] = []
        self._emissive: list[bool] = []
        self._detail: list[bool] = []

    def face(
        self,
        points: Sequence[Sequence[float]] | Floats,
        out: Sequence[float],
        colour: Sequence[float] | Floats,
        *,
        emissive: bool = False,
        detail: bool = False,
    ) -> Floats:
        """Adds a convex polygon (N >= 3, 3) and returns its points."""
        corners = np.asarray(points, dtype=np.float64)
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[1])
        if normal @ np.asarray(out) < 0.0:
            corners, normal = corners[::-1], -normal
        self._points.append(corners)
        self._colours.append(np.asarray(colour, dtype=np.float64))
        self._normals.append(normal / max(float(np.linalg.norm(normal)), 1e-9))
        self._emissive.append(emissive)
        self._detail.append(detail)
        return np.asarray(points, dtype=np.float64)

    def freeze(self) -> Mesh:
        """The collected faces as one mesh."""
        longest = max(len(points) for points in self._points)
        faces, start = [], 0
        for points in self._points:
            faces.append(np.minimum(np.arange(longest), len(points) - 1) + start)
            start += len(points)
        return Mesh(
            np.concatenate(self._points),
            np.array(faces),
            np.array(self._colours),
            np.array(self._normals),
            np.array(self._emissive),
            np.array(self._detail),
        )


def place(vertices: Floats, position: Floats, heading: float) -> Floats:
    """Local points (..., 3) turned by `heading` radians about z and moved to `position`."""
    cosine, sine = np.cos(heading), np.sin(heading)
    turn = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    placed: Floats = vertices @ turn + position
    return placed


def shade_mesh(mesh: Mesh, light: Light, heading: float) -> Floats:
    """Face colours (F, 3) of a mesh that stands turned by `heading`."""
    lit = light.shade(mesh.colours, place(mesh.normals, np.zeros(3), heading))
    return np.where(mesh.emissive[:, None], mesh.colours, lit)


def mesh_polygons(
    mesh: Mesh, colours: Floats, camera: Camera, light: Light, position: Floats, heading: float
) -> tuple[list[NDArray[np.int32]], list[Colour]]:
    """The faces that look at the camera, projected, with haze; empty when all is out of sight."""
    view = camera.to_view(place(mesh.vertices, position, heading))
    distance = max(float(view[:, 2].mean()), 1.0)
    faces, shown = mesh.faces, colours
    if distance > 0.03 * camera.focal_px:
        faces, shown = faces[~mesh.detail], shown[~mesh.detail]
    corners = view[faces]
    # A face looks at the camera, which is the origin, when a . (b x c) < 0.
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    volume = a[:, 0] * (b[:, 1] * c[:, 2] - b[:, 2] * c[:, 1])
    volume += a[:, 1] * (b[:, 2] * c[:, 0] - b[:, 0] * c[:, 2])
    volume += a[:, 2] * (b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0])
    towards = volume < 0.0
    corners, shown = corners[towards], light.fade(shown[towards], distance)
    tuples: list[Colour] = [tuple(row) for row in shown.tolist()]
    if float(view[:, 2].min()) > CLOSE_M:
        return list(fixed(camera.to_image(corners))), tuples
    polygons, kept = [], []
    for corner, colour in zip(corners, tuples, strict=True):
        clipped = clip(camera, corner)
        if len(clipped) >= 3:
            polygons.append(fixed(camera.to_image(clipped)))
            kept.append(colour)
    return polygons, kept


_ARC = np.linspace(-0.5 * np.pi, 0.5 * np.pi, CAP_POINTS)
_CAPS = np.stack([np.cos(_ARC), np.sin(_ARC)], axis=-1)


def capsules(starts: Floats, ends: Floats, start_radii: Floats, end_radii: Floats) -> Floats:
    """Outlines (N, 12, 2) of round-ended thick lines between image points (N, 2); radii (N,) in pixels."""
    along = ends - starts
    length = np.hypot(along[:, 0], along[:, 1])[:, None]
    unit = np.where(length > 1e-6, along / np.maximum(length, 1e-6), [1.0, 0.0])
    across = np.stack([-unit[:, 1], unit[:, 0]], axis=-1)
    fan = _CAPS[None, :, :1] * unit[:, None, :] + _CAPS[None, :, 1:] * across[:, None, :]
    head = ends[:, None, :] + fan * end_radii[:, None, None]
    tail = starts[:, None, :] - fan * start_radii[:, None, None]
    return np.concatenate([head, tail], axis=1)
