"""Cars, buses and trucks as meshes: x forward, y left, z up, origin on the ground under the middle."""

from __future__ import annotations

import numpy as np

from edge_app.scene.camera import Floats
from edge_app.scene.coachwork import (
    DARK,
    GLASS,
    PLATE,
    Vehicle,
    end_box,
    fit_lamps,
    glazing,
    loft,
    side_box,
    treads,
    wheels,
)
from edge_app.scene.drawing import MeshBuilder

CAR_PAINTS = np.array(
    [
        (235, 235, 235), (200, 200, 202), (150, 148, 146), (92, 90, 90), (38, 36, 36), (52, 44, 188),
        (36, 30, 130), (170, 92, 36), (110, 52, 24), (70, 96, 44), (60, 170, 226), (150, 190, 206),
        (66, 84, 120), (190, 150, 90),
    ],
    dtype=np.float64,
)  # fmt: skip
BUS_PAINTS = np.array(
    [
        (48, 40, 196), (60, 160, 232), (176, 110, 40), (82, 140, 60), (225, 225, 225), (60, 198, 235),
    ],
    dtype=np.float64,
)  # fmt: skip
CARGO_PAINTS = np.array(
    [
        (236, 236, 236), (214, 214, 210), (180, 120, 50), (60, 60, 180), (70, 130, 70),
        (70, 150, 215), (120, 116, 110),
    ],
    dtype=np.float64,
)  # fmt: skip


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
    treads(build, (-axle, axle), radius, w - 0.02)
    boot = waist if kind == "saloon" else waist + 0.04
    loft(
        build,
        [
            (-half, w * 0.9, 0.34, 0.72 * tall), (-half + 0.16, w, 0.22, boot * 0.97),
            (-half * 0.5, w, 0.2, waist), (half * 0.34, w, 0.2, waist),
            (half * 0.86, w * 0.97, 0.22, waist * 0.84), (half, w * 0.86, 0.32, waist * 0.62),
        ],
        paint,
    )  # fmt: skip
    side_box(build, -half * 0.95, half * 0.93, 0.2, 0.3, w, DARK)
    side_box(
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
        side_box(build, x - 0.012, x + 0.012, 0.3, waist, w, paint * 0.5, detail=True)
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
    glazing(
        build,
        (rear, w * 0.96, half * 0.4, waist - 0.01),
        (top_rear, w * 0.74, half * 0.02, roof),
        paint,
        pillars,
    )
    lamp_z = 0.66 * tall
    fit_lamps(build, half + 0.01, -half - 0.01, w * 0.84, lamp_z, lamps)
    end_box(build, half + 0.01, -0.42, 0.42, 0.36, 0.52, DARK)
    for x in (half + 0.015, -half - 0.015):
        end_box(build, x, -0.26, 0.26, 0.4, 0.5, PLATE)
    wheels(build, (-axle, axle), radius, w + 0.01)
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
    treads(build, axles, radius, w - 0.02)
    loft(
        build, [(-half, w, 0.32, top), (half - 0.1, w, 0.32, top), (half, w * 0.97, 0.32, top - 0.12)], paint
    )
    build.face([(-half, w, top), (half, w, top), (half, -w, top), (-half, -w, top)], (0, 0, 1), roof_paint)
    side_box(build, -half, half, 0.32, 0.5, w, paint * 0.5)
    stripe = CARGO_PAINTS[rng.integers(len(CARGO_PAINTS))]
    side_box(build, -half, half, 0.95, 1.14, w, stripe)
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
        side_box(build, x - 0.55, x + 0.55, 0.45, decks[0][1], w, GLASS * 0.8)
        side_box(build, x - 0.03, x + 0.03, 0.45, decks[0][1], w, paint * 0.8, detail=True)
    for low, high in decks:
        end_box(build, half + 0.01, -w * 0.9, w * 0.9, low - 0.1, high - 0.02, GLASS)
        end_box(build, -half - 0.01, -w * 0.72, w * 0.72, low + 0.25, high, GLASS)
    sign_z = decks[0][1] + 0.05
    end_box(build, half + 0.02, -w * 0.7, w * 0.7, sign_z, sign_z + 0.3, DARK)
    end_box(
        build,
        half + 0.025,
        -w * 0.45,
        w * 0.45,
        sign_z + 0.07,
        sign_z + 0.23,
        np.array((60.0, 190.0, 255.0)),
        glow=True,
    )
    end_box(build, half + 0.01, -w * 0.95, w * 0.95, 0.36, 0.52, DARK)
    fit_lamps(build, half + 0.02, -half - 0.02, w * 0.93, 0.78, lamps)
    end_box(build, -half - 0.015, -0.3, 0.3, 0.55, 0.68, PLATE)
    wheels(build, axles, radius, w + 0.01)
    return Vehicle(build.freeze(), None, 2 * half, 2 * w, top, (w * 0.8, 0.78), radius_m=8.0)


def _cab(build: MeshBuilder, rear: float, front: float, w: float, top: float, paint: Floats) -> None:
    loft(
        build, [(rear, w, 0.45, top), (front - 0.25, w, 0.4, top), (front, w * 0.96, 0.4, top * 0.62)], paint
    )
    screen = [(front, w * 0.88, top * 0.62), (front, -w * 0.88, top * 0.62)]
    screen += [(front - 0.24, -w * 0.88, top * 0.95), (front - 0.24, w * 0.88, top * 0.95)]
    build.face(screen, (1, 0, 0.3), GLASS * 1.1)
    side_box(build, front - 1.1, front - 0.22, top * 0.6, top * 0.9, w, GLASS)
    side_box(build, front - 1.16, front - 1.13, 0.5, top * 0.92, w, paint * 0.5, detail=True)
    end_box(build, front + 0.01, -w * 0.6, w * 0.6, 0.9, 1.25, DARK)
    end_box(build, front + 0.01, -w * 0.98, w * 0.98, 0.4, 0.6, DARK * 1.6)


def _cargo(
    build: MeshBuilder, rng: np.random.Generator, rear: float, front: float, w: float, top: float
) -> None:
    """The load: a closed box with a band and ribs, or an open bed with its freight."""
    colour = CARGO_PAINTS[rng.integers(len(CARGO_PAINTS))] * rng.uniform(0.88, 1.04)
    second = CARGO_PAINTS[rng.integers(len(CARGO_PAINTS))]
    if rng.random() < 0.72:
        loft(build, [(rear, w, 0.95, top), (front, w, 0.95, top)], colour)
        low, high = sorted(rng.uniform(1.3, top - 0.3, 2))
        side_box(build, rear + 0.3, front - 0.3, low, high + 0.15, w, second)
        for x in np.linspace(rear, front, 7)[1:-1]:
            side_box(build, x - 0.02, x + 0.02, 0.95, top, w, colour * 0.8, detail=True)
        end_box(build, rear - 0.01, -0.03, 0.03, 1.0, top, colour * 0.5)
        for y in (-w * 0.5, w * 0.5):
            end_box(build, rear - 0.01, y - 0.05, y + 0.05, 1.1, top - 0.2, colour * 0.7)
        return
    load = np.array((60.0, 92.0, 128.0)) * rng.uniform(0.7, 1.3)
    heap = (front + rear) / 2
    loft(build, [(rear, w, 0.95, 1.75), (front, w, 0.95, 1.75)], colour)
    loft(
        build,
        [(rear + 0.3, w * 0.8, 1.7, 1.78), (heap, w * 0.7, 1.7, 2.2), (front - 0.3, w * 0.8, 1.7, 1.8)],
        load,
    )
    for x in np.linspace(rear, front, 6):
        side_box(build, x - 0.05, x + 0.05, 0.95, 1.75, w + 0.01, colour * 0.7)


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
        treads(build, axles, radius, w - 0.02)
        loft(build, [(-half, w * 0.8, 0.5, 0.95), (split, w * 0.8, 0.5, 0.95)], DARK * 1.3)
        if cab_last:
            _cargo(build, np.random.default_rng(seed), -half, split - 0.15, w, cargo_top)
            _cab(build, split, half, w * 0.96, cab_top, paint)
        else:
            _cab(build, split, half, w * 0.96, cab_top, paint)
            _cargo(build, np.random.default_rng(seed), -half, split - 0.15, w, cargo_top)
        fit_lamps(build, half + 0.02, -half - 0.02, w * 0.9, 0.72, lamps)
        end_box(build, -half - 0.015, -0.3, 0.3, 0.62, 0.76, PLATE)
        wheels(build, axles, radius, w + 0.01)
        meshes.append(build.freeze())
    return Vehicle(meshes[0], meshes[1], 2 * half, 2 * w, cargo_top, (w * 0.8, 0.72), radius_m=7.5)
