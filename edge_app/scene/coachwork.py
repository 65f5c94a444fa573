"""Parts that cars, buses and trucks are made of: bodies, windows, wheels, lamps.

Local axes are metres: x forward, y left, z up, origin on the ground under the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edge_app.scene.camera import Floats
from edge_app.scene.drawing import Mesh, MeshBuilder

GLASS = np.array((74.0, 62.0, 50.0))
GLARE = np.array((150.0, 138.0, 122.0))
DARK = np.array((34.0, 33.0, 32.0))
TYRE = np.array((30.0, 29.0, 29.0))
RIM = np.array((168.0, 166.0, 164.0))
PLATE = np.array((225.0, 232.0, 232.0))

Section = tuple[float, float, float, float]  # x, half width, bottom, top


@dataclass(frozen=True, slots=True, eq=False)
class Vehicle:
    """A mesh with what the street must know of it."""

    mesh: Mesh
    behind: Mesh | None  # the same seen from behind, where the painting order differs
    length_m: float
    width_m: float
    height_m: float
    lamp_m: tuple[float, float]  # lamps: distance from the middle line, height
    radius_m: float = 7.0


def loft(build: MeshBuilder, sections: Sequence[Section], colour: Floats) -> None:
    """A body through rectangular cross-sections, from rear to front."""
    for (x0, w0, b0, t0), (x1, w1, b1, t1) in pairwise(sections):
        build.face([(x0, w0, t0), (x1, w1, t1), (x1, -w1, t1), (x0, -w0, t0)], (0, 0, 1), colour)
        for side in (1.0, -1.0):
            points = [(x0, side * w0, b0), (x1, side * w1, b1), (x1, side * w1, t1), (x0, side * w0, t0)]
            build.face(points, (0, side, 0), colour)
    for (x, w, b, t), out in ((sections[0], -1.0), (sections[-1], 1.0)):
        build.face([(x, w, b), (x, -w, b), (x, -w, t), (x, w, t)], (out, 0, 0), colour * 0.94)


def decal(
    build: MeshBuilder,
    quad: Floats,
    out: Sequence[float],
    area: tuple[float, float, float, float],
    colour: Floats,
    *,
    detail: bool = False,
) -> None:
    """Paints u0, v0, u1, v1 of a quad (corners: bottom start, bottom end, top end, top start)."""
    u0, v0, u1, v1 = area
    a, b, c, d = quad
    points = [
        (a + (b - a) * u) * (1 - v) + (d + (c - d) * u) * v
        for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))
    ]
    build.face(np.array(points), out, colour, detail=detail)


def side_box(
    build: MeshBuilder,
    x0: float,
    x1: float,
    z0: float,
    z1: float,
    y: float,
    colour: Floats,
    *,
    detail: bool = False,
) -> None:
    """A rectangle on both long sides, at distance `y` from the middle line."""
    for side in (1.0, -1.0):
        points = [(x0, side * y, z0), (x1, side * y, z0), (x1, side * y, z1), (x0, side * y, z1)]
        build.face(points, (0, side, 0), colour, detail=detail)


def end_box(
    build: MeshBuilder,
    x: float,
    y0: float,
    y1: float,
    z0: float,
    z1: float,
    colour: Floats,
    *,
    glow: bool = False,
) -> None:
    """A rectangle on the front (x > 0) or on the rear."""
    points = [(x, y0, z0), (x, y1, z0), (x, y1, z1), (x, y0, z1)]
    build.face(points, (x, 0, 0), colour, emissive=glow)


def treads(build: MeshBuilder, axles: Sequence[float], radius: float, y: float) -> None:
    """The tyres as seen from the front and the rear, under the body."""
    for x in axles:
        for side in (1.0, -1.0):
            inner, outer = side * (y - 0.24), side * y
            for out in (1.0, -1.0):
                edge = x + out * radius * 0.8
                points = [
                    (edge, inner, 0.0),
                    (edge, outer, 0.0),
                    (edge, outer, radius),
                    (edge, inner, radius),
                ]
                build.face(points, (out, 0, 0), TYRE)


def wheels(build: MeshBuilder, axles: Sequence[float], radius: float, y: float) -> None:
    """Arch, tyre, rim and hub of each wheel, on both sides."""
    turn = np.linspace(0.0, 2.0 * np.pi, 12, endpoint=False)
    for x in axles:
        for side in (1.0, -1.0):
            for share, colour, detail in (
                (1.16, DARK * 0.6, False), (1.0, TYRE, False), (0.64, RIM, False), (0.5, RIM * 0.55, True),
                (0.2, RIM, True),
            ):  # fmt: skip
                size = radius * share
                disc = np.stack(
                    [
                        x + size * np.cos(turn),
                        np.full(12, side * y),
                        np.maximum(radius + size * np.sin(turn), 0.0),
                    ],
                    -1,
                )
                build.face(disc, (0, side, 0), colour, detail=detail)


def fit_lamps(build: MeshBuilder, front: float, rear: float, y: float, z: float, lamps: float) -> None:
    """Head and tail lamps, brighter the darker it is."""
    bright = lamps > 0.3
    head = np.array((200.0, 244.0, 255.0)) if bright else np.array((226.0, 226.0, 222.0))
    tail = np.array((60.0, 50.0, 250.0)) if bright else np.array((44.0, 34.0, 176.0))
    for side in (1.0, -1.0):
        inner, outer = side * (y - 0.34), side * y
        end_box(build, front, inner, outer, z - 0.09, z + 0.09, head, glow=bright)
        end_box(build, rear, inner, outer, z - 0.07, z + 0.13, tail, glow=bright)


def glazing(
    build: MeshBuilder, base: Section, roof: Section, paint: Floats, pillars: Sequence[tuple[float, float]]
) -> None:
    """A cabin with its windows, between a base (rear x, half width, front x, z) and a roof of that form."""
    r0, w0, f0, z0 = base
    r1, w1, f1, z1 = roof
    build.face([(r1, w1, z1), (f1, w1, z1), (f1, -w1, z1), (r1, -w1, z1)], (0, 0, 1), paint)
    for side in (1.0, -1.0):
        quad = build.face(
            [(r0, side * w0, z0), (f0, side * w0, z0), (f1, side * w1, z1), (r1, side * w1, z1)],
            (0, side, 0.2),
            paint,
        )
        for start, end in pillars:
            decal(build, quad, (0, side, 0.2), (start, 0.08, end, 0.84), GLASS)
            middle = start + (end - start) * 0.35
            decal(build, quad, (0, side, 0.2), (middle, 0.3, middle + 0.09, 0.84), GLARE, detail=True)
    for x0, x1, out in ((f0, f1, 1.0), (r0, r1, -1.0)):
        quad = build.face([(x0, w0, z0), (x0, -w0, z0), (x1, -w1, z1), (x1, w1, z1)], (out, 0, 0.5), paint)
        decal(build, quad, (out, 0, 0.5), (0.06, 0.06, 0.94, 0.88), GLASS * 1.1)
        decal(build, quad, (out, 0, 0.5), (0.55, 0.4, 0.8, 0.88), GLARE, detail=True)
