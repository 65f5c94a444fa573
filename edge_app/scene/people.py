"""People on foot and on bicycles: clothes, hair and a gait."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_app.scene.camera import Floats
from edge_app.scene.flesh import Flesh, Point

SKIN = np.array(
    [(140, 172, 222), (120, 150, 205), (92, 120, 176), (62, 84, 130), (40, 56, 92)], dtype=np.float64
)
HAIR = np.array(
    [(24, 26, 30), (34, 48, 70), (60, 92, 130), (110, 150, 180), (170, 170, 172)], dtype=np.float64
)
CLOTHES = np.array(
    [
        (40, 36, 34), (92, 60, 40), (150, 88, 44), (200, 150, 80), (60, 50, 180), (60, 110, 220),
        (80, 190, 225), (90, 140, 80), (70, 90, 60), (220, 220, 222),
        (160, 160, 160), (110, 90, 140), (100, 180, 190),
        (140, 60, 110),
    ],
    dtype=np.float64,
)  # fmt: skip
TROUSERS = np.array(
    [(48, 44, 42), (112, 76, 50), (84, 56, 38), (90, 110, 130), (150, 160, 170), (60, 62, 66)], float
)


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
    """Neck, head, hair and hat, the chin at height z (in body heights), seen from behind or in front."""
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

    `phase` is the gait's angle, `stride` 0 for standing to 1 for a brisk walk, `near` the side (+1 left,
    -1 right) that the camera sees, `away` whether it sees the back, `far` whether hands and shoes are too
    small to show.
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
