"""Dogs: coat, ears and a trot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_app.scene.camera import Floats
from edge_app.scene.flesh import Flesh

COATS = np.array(
    [(30, 30, 32), (40, 70, 116), (70, 110, 160), (150, 180, 205), (225, 228, 230), (90, 92, 96)], float
)


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
