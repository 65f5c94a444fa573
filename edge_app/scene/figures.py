"""People, dogs and bicycles as jointed stick figures with flesh: thick tapered lines between 3-D joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_app.scene.camera import Camera, Floats
from edge_app.scene.drawing import SHIFT, Colour, capsules, fixed, place
from edge_app.scene.light import Light

SKIN = np.array(
    [(140, 172, 222), (120, 150, 205), (92, 120, 176), (62, 84, 130), (40, 56, 92)], dtype=np.float64
)
HAIR = np.array(
    [(24, 26, 30), (34, 48, 70), (60, 92, 130), (110, 150, 180), (170, 170, 172)], dtype=np.float64
)
CLOTHES = np.array(
    [
        (40, 36, 34), (92, 60, 40), (150, 88, 44), (200, 150, 80), (60, 50, 180), (60, 110, 220), (80, 190, 225),
        (90, 140, 80), (70, 90, 60), (220, 220, 222), (160, 160, 160), (110, 90, 140), (100, 180, 190), (140, 60, 110),
    ],
    dtype=np.float64,
)  # fmt: skip
TROUSERS = np.array(
    [(48, 44, 42), (112, 76, 50), (84, 56, 38), (90, 110, 130), (150, 160, 170), (60, 62, 66)], float
)
COATS = np.array(
    [(30, 30, 32), (40, 70, 116), (70, 110, 160), (150, 180, 205), (225, 228, 230), (90, 92, 96)], float
)
BIKE_PAINTS = np.array(
    [(50, 40, 190), (170, 96, 30), (40, 40, 42), (90, 160, 60), (210, 210, 210), (60, 190, 240)], float
)


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


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """How one person looks. Lengths are shares of `height_m`."""

    height_m: float
    build: float
    skin: Floats
    hair: Floats
    top: Floats
    legs: Floats
    shoes: Floats
    long_hair: bool
    skirt: bool
    sleeves: bool
    bag: Floats | None
    hat: Floats | None


def make_person(rng: np.random.Generator) -> Person:
    """Draws a person: clothes, hair, height (now and then a child)."""
    child = rng.random() < 0.12
    return Person(
        height_m=float(rng.uniform(1.1, 1.4) if child else rng.normal(1.72, 0.08)),
        build=float(rng.uniform(0.88, 1.22)),
        skin=SKIN[rng.integers(len(SKIN))],
        hair=HAIR[rng.integers(len(HAIR))],
        top=CLOTHES[rng.integers(len(CLOTHES))] * rng.uniform(0.8, 1.1),
        legs=TROUSERS[rng.integers(len(TROUSERS))] * rng.uniform(0.8, 1.15),
        shoes=np.array((40.0, 38.0, 38.0)) if rng.random() < 0.7 else np.array((215.0, 215.0, 215.0)),
        long_hair=bool(rng.random() < 0.4),
        skirt=bool(rng.random() < 0.15),
        sleeves=bool(rng.random() < 0.7),
        bag=CLOTHES[rng.integers(len(CLOTHES))] if rng.random() < 0.3 else None,
        hat=CLOTHES[rng.integers(len(CLOTHES))] if rng.random() < 0.15 else None,
    )


def _knee(hip: Point, foot: Point, bone: float) -> Point:
    """Where a leg of two bones of that length bends forward between hip and foot (both in one x-z plane)."""
    dx, dz = foot[0] - hip[0], foot[2] - hip[2]
    reach = float(np.hypot(dx, dz))
    bend = float(np.sqrt(max(bone * bone - reach * reach / 4, 0.0)))
    middle = (hip[0] + dx / 2, hip[2] + dz / 2)
    return (
        middle[0] - dz / max(reach, 1e-6) * bend,
        (hip[1] + foot[1]) / 2,
        middle[1] + dx / max(reach, 1e-6) * bend,
    )


def _head(flesh: Flesh, person: Person, x: float, z: float, away: bool) -> None:
    """Neck, head, hair and hat with the chin at height z (in body heights), as seen from behind or from the front."""
    h = person.height_m
    neck, low, high = (
        (x * h, 0.0, z * h - 0.02 * h),
        (x * h + 0.01 * h, 0.0, (z + 0.05) * h),
        (x * h, 0.0, (z + 0.085) * h),
    )
    flesh.limb(neck, low, (0.032 * h, 0.034 * h), person.skin * 0.9)
    hair_end = (
        (x * h - 0.04 * h, 0.0, (z - 0.03) * h)
        if person.long_hair
        else (x * h - 0.02 * h, 0.0, (z + 0.05) * h)
    )
    crown = (x * h - 0.012 * h, 0.0, (z + 0.1) * h)
    face = (low, high, (0.05 * h, 0.056 * h), person.skin)
    mane = (hair_end, crown, (0.05 * h, 0.06 * h), person.hair)
    for part in (face, mane) if away else (mane, face):
        flesh.limb(*part)
    flesh.limb(
        (x * h - 0.02 * h, 0.0, (z + 0.125) * h),
        (x * h + 0.015 * h, 0.0, (z + 0.125) * h),
        (0.036 * h, 0.032 * h),
        person.hair,
    )
    if person.hat is not None:
        flesh.limb(
            (x * h - 0.03 * h, 0.0, (z + 0.12) * h),
            (x * h + 0.06 * h, 0.0, (z + 0.118) * h),
            (0.05 * h, 0.03 * h),
            person.hat,
        )


def walking(person: Person, phase: float, stride: float, near: float, away: bool, far: bool = False) -> Flesh:
    """A person on foot.

    `phase` is the gait's angle, `stride` 0 for standing to 1 for a brisk walk, `near` the side (+1 left, -1 right)
    that the camera sees, `away` whether the camera sees the back, `far` whether hands and shoes are too small to show.
    """
    h, wide = person.height_m, person.build * person.height_m
    flesh = Flesh()
    bob = 0.012 * h * stride * abs(float(np.cos(phase)))
    hip_z, shoulder_z = 0.5 * h + bob, 0.8 * h + bob

    def leg(side: float, shade: float) -> None:
        swing = phase if side > 0 else phase + np.pi
        hip = (0.0, side * 0.052 * wide, hip_z)
        reach, lift = 0.2 * stride * float(np.sin(swing)), 0.06 * stride * max(float(np.cos(swing)), 0.0)
        ankle = (reach * h, side * 0.05 * wide, (0.045 + lift) * h)
        knee = _knee(hip, ankle, 0.237 * h)
        colour = (person.skin if person.skirt else person.legs) * shade
        flesh.limb(knee, ankle, (0.042 * wide, 0.03 * wide), colour)
        flesh.limb(
            hip,
            knee,
            (0.062 * wide, 0.044 * wide),
            (person.top * 0.8 if person.skirt else person.legs) * shade,
        )
        if far:
            return
        flesh.limb(
            (ankle[0] - 0.015 * h, ankle[1], ankle[2] - 0.02 * h),
            (ankle[0] + 0.09 * h, ankle[1], ankle[2] - 0.028 * h),
            (0.024 * h, 0.018 * h),
            person.shoes,
        )

    def arm(side: float, shade: float) -> None:
        swing = phase + np.pi if side > 0 else phase
        angle = 0.55 * stride * float(np.sin(swing)) + 0.05
        shoulder = (0.0, side * 0.125 * wide, shoulder_z)
        elbow = (
            0.17 * h * float(np.sin(angle)),
            side * 0.15 * wide,
            shoulder_z - 0.17 * h * float(np.cos(angle)),
        )
        bent = angle + 0.35 + 0.25 * stride
        hand = (
            elbow[0] + 0.16 * h * float(np.sin(bent)),
            side * 0.14 * wide,
            elbow[2] - 0.16 * h * float(np.cos(bent)),
        )
        flesh.limb(
            elbow, hand, (0.03 * wide, 0.024 * wide), (person.top if person.sleeves else person.skin) * shade
        )
        if not far:
            flesh.limb(
                hand, (hand[0], hand[1], hand[2] - 0.03 * h), (0.024 * h, 0.022 * h), person.skin * shade
            )
        flesh.limb(shoulder, elbow, (0.04 * wide, 0.032 * wide), person.top * shade)

    arm(-near, 0.72)
    leg(-near, 0.74)
    leg(near, 1.0)
    if person.bag is not None and not away:
        flesh.limb(
            (-0.1 * h, 0.0, 0.6 * h), (-0.1 * h, 0.0, 0.76 * h), (0.09 * wide, 0.08 * wide), person.bag
        )
    if person.skirt:
        flesh.limb(
            (0.0, 0.0, hip_z - 0.14 * h),
            (0.0, 0.0, hip_z + 0.04 * h),
            (0.105 * wide, 0.07 * wide),
            person.top * 0.75,
        )
    for side in (-near, near):
        shade = 0.9 if side != near else 1.0
        flesh.limb(
            (0.0, side * 0.045 * wide, hip_z + 0.02 * h),
            (0.0, side * 0.075 * wide, shoulder_z - 0.02 * h),
            (0.065 * wide, 0.07 * wide),
            person.top * shade,
        )
    arm(near, 1.0)
    if person.bag is not None and away:
        flesh.limb(
            (-0.1 * h, 0.0, 0.6 * h), (-0.1 * h, 0.0, 0.76 * h), (0.09 * wide, 0.08 * wide), person.bag
        )
    _head(flesh, person, 0.0, 0.855 + bob / h, away)
    return flesh


def riding(person: Person, pedal: float, near: float, away: bool) -> Flesh:
    """A person on a bicycle whose crank stands at the angle `pedal`."""
    h, wide = person.height_m, person.build * person.height_m
    flesh = Flesh()
    hip_x, hip_z, shoulder = -0.2, 1.0, (0.16, 1.0 + 0.3 * h)

    def limbs(side: float, shade: float) -> None:
        angle = pedal if side > 0 else pedal + np.pi
        foot = (0.05 + 0.17 * float(np.cos(angle)), side * 0.1, 0.33 + 0.17 * float(np.sin(angle)))
        hip = (hip_x, side * 0.08, hip_z)
        knee = _knee(hip, foot, 0.25 * h)
        flesh.limb(knee, foot, (0.042 * wide, 0.03 * wide), person.legs * shade)
        flesh.limb(hip, knee, (0.065 * wide, 0.045 * wide), person.legs * shade)
        flesh.limb(
            (foot[0] - 0.05, foot[1], foot[2] - 0.02),
            (foot[0] + 0.13, foot[1], foot[2] - 0.03),
            (0.045, 0.035),
            person.shoes,
        )
        elbow = (0.32, side * 0.26, shoulder[1] - 0.22)
        flesh.limb(
            elbow,
            (0.46, side * 0.24, 1.05),
            (0.03 * wide, 0.024 * wide),
            (person.top if person.sleeves else person.skin) * shade,
        )
        flesh.limb(
            (shoulder[0], side * 0.125 * wide, shoulder[1]),
            elbow,
            (0.042 * wide, 0.032 * wide),
            person.top * shade,
        )

    limbs(-near, 0.72)
    for side in (-near, near):
        flesh.limb(
            (hip_x, side * 0.075, hip_z + 0.05),
            (shoulder[0] - 0.02, side * 0.12, shoulder[1] - 0.03),
            (0.072 * wide, 0.075 * wide),
            person.top * (1.0 if side == near else 0.9),
        )
    limbs(near, 1.0)
    if person.bag is not None:
        flesh.limb(
            (hip_x - 0.08, 0.0, hip_z + 0.2),
            (shoulder[0] - 0.2, 0.0, shoulder[1] - 0.02),
            (0.13, 0.12),
            person.bag,
        )
    _head(flesh, person, (shoulder[0] + 0.05) / h, (shoulder[1] + 0.06) / h, away)
    return flesh


@dataclass(frozen=True, slots=True, eq=False)
class Dog:
    """How one dog looks; `size` 1 stands 0.6 m at the shoulder."""

    size: float
    coat: Floats
    patch: Floats
    ears_up: bool


def make_dog(rng: np.random.Generator) -> Dog:
    """Draws a dog."""
    coat, patch = COATS[rng.integers(len(COATS))], COATS[rng.integers(len(COATS))]
    return Dog(
        float(rng.uniform(0.75, 1.25)),
        coat,
        patch if rng.random() < 0.5 else coat * 0.85,
        bool(rng.random() < 0.5),
    )


def trotting(dog: Dog, phase: float, stride: float, near: float, away: bool) -> Flesh:
    """A dog on its four legs; arguments as for `walking`."""
    s, coat = dog.size, dog.coat
    flesh = Flesh()

    def leg(x: float, side: float, offset: float, shade: float) -> None:
        swing = phase + offset
        foot = (
            x + 0.14 * s * stride * float(np.sin(swing)),
            side * 0.09 * s,
            (0.03 + 0.05 * stride * max(float(np.cos(swing)), 0.0)) * s,
        )
        joint = ((x + foot[0]) / 2 + 0.03 * s, side * 0.1 * s, 0.25 * s)
        flesh.limb((x, side * 0.09 * s, 0.44 * s), joint, (0.075 * s, 0.05 * s), coat * shade)
        flesh.limb(joint, foot, (0.045 * s, 0.035 * s), coat * shade * 0.95)

    def head() -> None:
        flesh.limb((0.3 * s, 0.0, 0.52 * s), (0.44 * s, 0.0, 0.68 * s), (0.11 * s, 0.08 * s), coat)
        flesh.limb((0.42 * s, 0.0, 0.7 * s), (0.5 * s, 0.0, 0.71 * s), (0.1 * s, 0.09 * s), coat)
        flesh.limb((0.54 * s, 0.0, 0.68 * s), (0.68 * s, 0.0, 0.65 * s), (0.06 * s, 0.042 * s), dog.patch)
        flesh.limb(
            (0.71 * s, 0.0, 0.665 * s),
            (0.72 * s, 0.0, 0.665 * s),
            (0.022 * s, 0.022 * s),
            np.array((22.0, 22.0, 24.0)),
        )
        for side in (-near, near):
            tip = (
                (0.4 * s, side * 0.09 * s, 0.86 * s) if dog.ears_up else (0.42 * s, side * 0.12 * s, 0.62 * s)
            )
            flesh.limb((0.42 * s, side * 0.07 * s, 0.75 * s), tip, (0.04 * s, 0.022 * s), dog.patch * 0.85)

    def tail() -> None:
        wag = 0.1 * s * float(np.sin(phase * 1.7))
        flesh.limb((-0.36 * s, 0.0, 0.52 * s), (-0.56 * s, wag, 0.74 * s), (0.045 * s, 0.022 * s), coat * 0.9)

    (head if away else tail)()
    leg(0.28 * s, -near, 0.0, 0.7)
    leg(-0.3 * s, -near, np.pi, 0.7)
    flesh.limb((-0.28 * s, 0.0, 0.47 * s), (0.26 * s, 0.0, 0.46 * s), (0.13 * s, 0.16 * s), coat)
    flesh.limb((-0.16 * s, 0.0, 0.53 * s), (0.02 * s, 0.0, 0.54 * s), (0.085 * s, 0.09 * s), dog.patch)
    leg(0.28 * s, near, np.pi, 1.0)
    leg(-0.3 * s, near, 0.0, 1.0)
    (tail if away else head)()
    return flesh


WHEEL_M = 0.34
HUBS = (-0.52, 0.52)
_RIM = np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)


def bicycle(paint: Floats, pedal: float) -> Flesh:
    """Frame, fork, handlebar, saddle and crank; the wheels are strokes of their own (`wheel_rims`)."""
    flesh, dark = Flesh(), np.array((36.0, 35.0, 34.0))
    rear, front, crank = (HUBS[0], 0.0, WHEEL_M), (HUBS[1], 0.0, WHEEL_M), (0.02, 0.0, 0.33)
    seat, stem = (-0.16, 0.0, 0.82), (0.36, 0.0, 0.84)
    for start, end in (
        (rear, crank),
        (rear, seat),
        (crank, seat),
        (crank, stem),
        (seat, stem),
        (stem, front),
    ):
        flesh.limb(start, end, (0.026, 0.026), paint)
    flesh.limb(seat, (-0.2, 0.0, 0.95), (0.02, 0.02), dark)
    flesh.limb((-0.3, 0.0, 0.96), (-0.08, 0.0, 0.96), (0.05, 0.03), dark)
    flesh.limb(stem, (0.34, 0.0, 1.02), (0.022, 0.022), dark)
    flesh.limb((0.36, -0.27, 1.04), (0.36, 0.27, 1.04), (0.024, 0.024), dark)
    for side, turn in ((0.1, pedal), (-0.1, pedal + np.pi)):
        flesh.limb(
            crank,
            (0.05 + 0.17 * float(np.cos(turn)), side, 0.33 + 0.17 * float(np.sin(turn))),
            (0.018, 0.018),
            dark,
        )
    return flesh


def wheel_rims(camera: Camera, position: Floats, heading: float) -> list[NDArray[np.int32]]:
    """Both wheels of a bicycle as closed lines in the image."""
    rims = np.stack(
        [
            np.stack([hub + WHEEL_M * np.cos(_RIM), np.zeros(16), WHEEL_M + WHEEL_M * np.sin(_RIM)], -1)
            for hub in HUBS
        ]
    )
    return list(fixed(camera.project(place(rims, position, heading))))
