"""Cars, buses and trucks as meshes: x forward, y left, z up, origin on the ground under the middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_app.scene.camera import Floats
from edge_app.scene.drawing import Mesh, MeshBuilder

CAR_PAINTS = np.array(
    [
        (235, 235, 235), (200, 200, 202), (150, 148, 146), (92, 90, 90), (38, 36, 36), (52, 44, 188), (36, 30, 130),
        (170, 92, 36), (110, 52, 24), (70, 96, 44), (60, 170, 226), (150, 190, 206), (66, 84, 120), (190, 150, 90),
    ],
    dtype=np.float64,
)  # fmt: skip
BUS_PAINTS = np.array(
    [(48, 40, 196), (60, 160, 232), (176, 110, 40), (82, 140, 60), (225, 225, 225), (60, 198, 235)], dtype=np.float64
)  # fmt: skip
CARGO_PAINTS = np.array(
    [(236, 236, 236), (214, 214, 210), (180, 120, 50), (60, 60, 180), (70, 130, 70), (70, 150, 215), (120, 116, 110)],
    dtype=np.float64,
)  # fmt: skip
GLASS = np.array((74.0, 62.0, 50.0))
GLARE = np.array((150.0, 138.0, 122.0))
DARK = np.array((34.0, 33.0, 32.0))
TYRE = np.array((30.0, 29.0, 29.0))
RIM = np.array((168.0, 166.0, 164.0))
PLATE = np.array((225.0, 232.0, 232.0))

Section = tuple[float, float, float, float]  # x, half width, bottom, top


@dataclass(frozen=True, slots=True, eq=False)
class Vehicle:
    """A mesh with what the street must know of it. `spokes` are (first vertex, count, hub x, hub z) that roll."""

    mesh: Mesh
    behind: Mesh | None  # the same seen from behind, where the painting order differs
    length_m: float
    width_m: float
    height_m: float
    lamp_m: tuple[float, float]  # lamps: distance from the middle line, height
    radius_m: float = 7.0


def _loft(build: MeshBuilder, sections: Sequence[Section], colour: Floats) -> None:
    """A body through rectangular cross-sections, from rear to front."""
    for (x0, w0, b0, t0), (x1, w1, b1, t1) in zip(sections, sections[1:], strict=False):
        build.face([(x0, w0, t0), (x1, w1, t1), (x1, -w1, t1), (x0, -w0, t0)], (0, 0, 1), colour)
        for side in (1.0, -1.0):
            points = [(x0, side * w0, b0), (x1, side * w1, b1), (x1, side * w1, t1), (x0, side * w0, t0)]
            build.face(points, (0, side, 0), colour)
    for (x, w, b, t), out in ((sections[0], -1.0), (sections[-1], 1.0)):
        build.face([(x, w, b), (x, -w, b), (x, -w, t), (x, w, t)], (out, 0, 0), colour * 0.94)


def _decal(
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


def _side_box(
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


def _end_box(
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


def _treads(build: MeshBuilder, axles: Sequence[float], radius: float, y: float) -> None:
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


def _wheels(build: MeshBuilder, axles: Sequence[float], radius: float, y: float) -> None:
    """Arch, tyre, rim and hub of each wheel, on both sides."""
    turn = np.linspace(0.0, 2.0 * np.pi, 12, endpoint=False)
    for x in axles:
        for side in (1.0, -1.0):
            for share, colour, detail in (
                (1.16, DARK * 0.6, False), (1.0, TYRE, False), (0.64, RIM, False), (0.5, RIM * 0.55, True), (0.2, RIM, True),
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


def _lamps(build: MeshBuilder, front: float, rear: float, y: float, z: float, lamps: float) -> None:
    """Head and tail lamps, brighter the darker it is."""
    bright = lamps > 0.3
    head = np.array((200.0, 244.0, 255.0)) if bright else np.array((226.0, 226.0, 222.0))
    tail = np.array((60.0, 50.0, 250.0)) if bright else np.array((44.0, 34.0, 176.0))
    for side in (1.0, -1.0):
        inner, outer = side * (y - 0.34), side * y
        _end_box(build, front, inner, outer, z - 0.09, z + 0.09, head, glow=bright)
        _end_box(build, rear, inner, outer, z - 0.07, z + 0.13, tail, glow=bright)


def _glazing(
    build: MeshBuilder, base: Section, roof: Section, paint: Floats, pillars: Sequence[tuple[float, float]]
) -> None:
    """A cabin between a base (rear x, half width, front x, z) and a roof of the same form, with its windows."""
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
            _decal(build, quad, (0, side, 0.2), (start, 0.08, end, 0.84), GLASS)
            middle = start + (end - start) * 0.35
            _decal(build, quad, (0, side, 0.2), (middle, 0.3, middle + 0.09, 0.84), GLARE, detail=True)
    for x0, x1, out in ((f0, f1, 1.0), (r0, r1, -1.0)):
        quad = build.face([(x0, w0, z0), (x0, -w0, z0), (x1, -w1, z1), (x1, w1, z1)], (out, 0, 0.5), paint)
        _decal(build, quad, (out, 0, 0.5), (0.06, 0.06, 0.94, 0.88), GLASS * 1.1)
        _decal(build, quad, (out, 0, 0.5), (0.55, 0.4, 0.8, 0.88), GLARE, detail=True)


def make_car(rng: np.random.Generator, lamps: float) -> Vehicle:
    """A hatchback, saloon, estate or SUV; now and then a taxi."""
    paint = CAR_PAINTS[rng.integers(len(CAR_PAINTS))] * rng.uniform(0.85, 1.05)
    kind = str(rng.choice(["hatchback", "saloon", "estate", "suv"]))
    half = {"hatchback": 1.95, "saloon": 2.3, "estate": 2.3, "suv": 2.25}[kind] * rng.uniform(0.96, 1.05)
    tall = 1.0 if kind != "suv" else 1.14
    w, waist, roof = rng.uniform(0.86, 0.93), 0.92 * tall, rng.uniform(1.42, 1.5) * tall
    radius = 0.32 * tall
    axle = half * 0.62
    build = MeshBuilder()
    _treads(build, (-axle, axle), radius, w - 0.02)
    boot = waist if kind == "saloon" else waist + 0.04
    _loft(
        build,
        [
            (-half, w * 0.9, 0.34, 0.72 * tall), (-half + 0.16, w, 0.22, boot * 0.97), (-half * 0.5, w, 0.2, waist),
            (half * 0.34, w, 0.2, waist), (half * 0.86, w * 0.97, 0.22, waist * 0.84), (half, w * 0.86, 0.32, waist * 0.62),
        ],
        paint,
    )  # fmt: skip
    _side_box(build, -half * 0.95, half * 0.93, 0.2, 0.3, w, DARK)
    _side_box(
        build,
        -half * 0.93,
        half * 0.6,
        waist - 0.14,
        waist - 0.08,
        w,
        np.minimum(paint * 1.25, 255),
        detail=True,
    )
    for x in (-half * 0.38, half * 0.02, half * 0.36):
        _side_box(build, x - 0.012, x + 0.012, 0.3, waist, w, paint * 0.5, detail=True)
    rear = {"hatchback": -half * 0.95, "saloon": -half * 0.66, "estate": -half * 0.97, "suv": -half * 0.96}[
        kind
    ]
    top_rear = {
        "hatchback": -half * 0.66,
        "saloon": -half * 0.34,
        "estate": -half * 0.84,
        "suv": -half * 0.82,
    }[kind]
    pillars = (
        ((0.07, 0.46), (0.5, 0.9))
        if kind in ("saloon", "hatchback")
        else ((0.05, 0.3), (0.33, 0.6), (0.63, 0.92))
    )
    _glazing(
        build,
        (rear, w * 0.96, half * 0.4, waist - 0.01),
        (top_rear, w * 0.74, half * 0.02, roof),
        paint,
        pillars,
    )
    lamp_z = 0.66 * tall
    _lamps(build, half + 0.01, -half - 0.01, w * 0.84, lamp_z, lamps)
    _end_box(build, half + 0.01, -0.42, 0.42, 0.36, 0.52, DARK)
    for x in (half + 0.015, -half - 0.015):
        _end_box(build, x, -0.26, 0.26, 0.4, 0.5, PLATE)
    _wheels(build, (-axle, axle), radius, w + 0.01)
    if rng.random() < 0.08:
        sign = [(-0.1, y, z) for y, z in ((-0.3, roof), (0.3, roof), (0.3, roof + 0.16), (-0.3, roof + 0.16))]
        for out in (1.0, -1.0):
            build.face(sign, (out, 0, 0), (60, 220, 250), emissive=True)
    return Vehicle(build.freeze(), None, 2 * half, 2 * w, roof, (w * 0.7, lamp_z))


def make_bus(rng: np.random.Generator, lamps: float) -> Vehicle:
    """A city bus, now and then with two decks: long rows of windows, doors, a lit sign."""
    paint = BUS_PAINTS[rng.integers(len(BUS_PAINTS))] * rng.uniform(0.88, 1.05)
    roof_paint = paint if rng.random() < 0.5 else np.array((228.0, 228.0, 226.0))
    double = rng.random() < 0.22
    half, w, top, radius = rng.uniform(5.0, 5.8), 1.26, 4.2 if double else rng.uniform(2.95, 3.2), 0.48
    axles = (-half * 0.55, half * 0.58)
    build = MeshBuilder()
    _treads(build, axles, radius, w - 0.02)
    _loft(
        build, [(-half, w, 0.32, top), (half - 0.1, w, 0.32, top), (half, w * 0.97, 0.32, top - 0.12)], paint
    )
    build.face([(-half, w, top), (half, w, top), (half, -w, top), (-half, -w, top)], (0, 0, 1), roof_paint)
    _side_box(build, -half, half, 0.32, 0.5, w, paint * 0.5)
    stripe = CARGO_PAINTS[rng.integers(len(CARGO_PAINTS))]
    _side_box(build, -half, half, 0.95, 1.14, w, stripe)
    decks = ((1.3, 2.15), (2.75, 3.65)) if double else ((1.3, top - 0.45),)
    count = 7
    pitch = (2 * half - 0.7) / count
    for low, high in decks:
        for number in range(count):
            x0 = -half + 0.3 + number * pitch
            lit = np.array((150.0, 205.0, 225.0)) if lamps > 0.3 else GLASS
            for side in (1.0, -1.0):
                quad = [(x0, side * w, low), (x0 + pitch - 0.14, side * w, low)]
                quad += [(x0 + pitch - 0.14, side * w, high), (x0, side * w, high)]
                build.face(quad, (0, side, 0), lit, emissive=lamps > 0.3)
    for x in (half * 0.84, -half * 0.05):
        _side_box(build, x - 0.55, x + 0.55, 0.45, decks[0][1], w, GLASS * 0.8)
        _side_box(build, x - 0.03, x + 0.03, 0.45, decks[0][1], w, paint * 0.8, detail=True)
    for low, high in decks:
        _end_box(build, half + 0.01, -w * 0.9, w * 0.9, low - 0.1, high - 0.02, GLASS)
        _end_box(build, -half - 0.01, -w * 0.72, w * 0.72, low + 0.25, high, GLASS)
    sign_z = decks[0][1] + 0.05
    _end_box(build, half + 0.02, -w * 0.7, w * 0.7, sign_z, sign_z + 0.3, DARK)
    _end_box(
        build,
        half + 0.025,
        -w * 0.45,
        w * 0.45,
        sign_z + 0.07,
        sign_z + 0.23,
        np.array((60.0, 190.0, 255.0)),
        glow=True,
    )
    _end_box(build, half + 0.01, -w * 0.95, w * 0.95, 0.36, 0.52, DARK)
    _lamps(build, half + 0.02, -half - 0.02, w * 0.93, 0.78, lamps)
    _end_box(build, -half - 0.015, -0.3, 0.3, 0.55, 0.68, PLATE)
    _wheels(build, axles, radius, w + 0.01)
    return Vehicle(build.freeze(), None, 2 * half, 2 * w, top, (w * 0.8, 0.78), radius_m=8.0)


def _cab(build: MeshBuilder, rear: float, front: float, w: float, top: float, paint: Floats) -> None:
    _loft(
        build, [(rear, w, 0.45, top), (front - 0.25, w, 0.4, top), (front, w * 0.96, 0.4, top * 0.62)], paint
    )
    screen = [(front, w * 0.88, top * 0.62), (front, -w * 0.88, top * 0.62)]
    screen += [(front - 0.24, -w * 0.88, top * 0.95), (front - 0.24, w * 0.88, top * 0.95)]
    build.face(screen, (1, 0, 0.3), GLASS * 1.1)
    _side_box(build, front - 1.1, front - 0.22, top * 0.6, top * 0.9, w, GLASS)
    _side_box(build, front - 1.16, front - 1.13, 0.5, top * 0.92, w, paint * 0.5, detail=True)
    _end_box(build, front + 0.01, -w * 0.6, w * 0.6, 0.9, 1.25, DARK)
    _end_box(build, front + 0.01, -w * 0.98, w * 0.98, 0.4, 0.6, DARK * 1.6)


def _cargo(
    build: MeshBuilder, rng: np.random.Generator, rear: float, front: float, w: float, top: float
) -> None:
    """The load: a closed box with a band and ribs, or an open bed with its freight."""
    colour = CARGO_PAINTS[rng.integers(len(CARGO_PAINTS))] * rng.uniform(0.88, 1.04)
    second = CARGO_PAINTS[rng.integers(len(CARGO_PAINTS))]
    if rng.random() < 0.72:
        _loft(build, [(rear, w, 0.95, top), (front, w, 0.95, top)], colour)
        low, high = sorted(rng.uniform(1.3, top - 0.3, 2))
        _side_box(build, rear + 0.3, front - 0.3, low, high + 0.15, w, second)
        for x in np.linspace(rear, front, 7)[1:-1]:
            _side_box(build, x - 0.02, x + 0.02, 0.95, top, w, colour * 0.8, detail=True)
        _end_box(build, rear - 0.01, -0.03, 0.03, 1.0, top, colour * 0.5)
        for y in (-w * 0.5, w * 0.5):
            _end_box(build, rear - 0.01, y - 0.05, y + 0.05, 1.1, top - 0.2, colour * 0.7)
        return
    load = np.array((60.0, 92.0, 128.0)) * rng.uniform(0.7, 1.3)
    heap = (front + rear) / 2
    _loft(build, [(rear, w, 0.95, 1.75), (front, w, 0.95, 1.75)], colour)
    _loft(
        build,
        [(rear + 0.3, w * 0.8, 1.7, 1.78), (heap, w * 0.7, 1.7, 2.2), (front - 0.3, w * 0.8, 1.7, 1.8)],
        load,
    )
    for x in np.linspace(rear, front, 6):
        _side_box(build, x - 0.05, x + 0.05, 0.95, 1.75, w + 0.01, colour * 0.7)


def make_truck(rng: np.random.Generator, lamps: float) -> Vehicle:
    """A lorry with a cab of its own colour and a closed box or an open bed."""
    paint = CAR_PAINTS[rng.integers(len(CAR_PAINTS))] * rng.uniform(0.85, 1.05)
    half, w = rng.uniform(3.1, 4.6), rng.uniform(1.12, 1.24)
    cab_top, cargo_top, radius = rng.uniform(2.35, 2.8), rng.uniform(2.8, 3.6), 0.46
    split = half - 1.9
    axles = (-half * 0.62, -half * 0.62 + 1.15, half - 1.0) if half > 3.9 else (-half * 0.55, half - 1.0)
    seed = int(rng.integers(2**31))
    meshes = []
    for cab_last in (True, False):
        build = MeshBuilder()
        _treads(build, axles, radius, w - 0.02)
        _loft(build, [(-half, w * 0.8, 0.5, 0.95), (split, w * 0.8, 0.5, 0.95)], DARK * 1.3)
        if cab_last:
            _cargo(build, np.random.default_rng(seed), -half, split - 0.15, w, cargo_top)
            _cab(build, split, half, w * 0.96, cab_top, paint)
        else:
            _cab(build, split, half, w * 0.96, cab_top, paint)
            _cargo(build, np.random.default_rng(seed), -half, split - 0.15, w, cargo_top)
        _lamps(build, half + 0.02, -half - 0.02, w * 0.9, 0.72, lamps)
        _end_box(build, -half - 0.015, -0.3, 0.3, 0.62, 0.76, PLATE)
        _wheels(build, axles, radius, w + 0.01)
        meshes.append(build.freeze())
    return Vehicle(meshes[0], meshes[1], 2 * half, 2 * w, cargo_top, (w * 0.8, 0.72), radius_m=7.5)
