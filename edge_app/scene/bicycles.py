"""Bicycles: a frame of thin tubes and two wheels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_app.scene.camera import Camera, Floats
from edge_app.scene.drawing import fixed, place
from edge_app.scene.flesh import Flesh

BIKE_PAINTS = np.array(
    [(50, 40, 190), (170, 96, 30), (40, 40, 42), (90, 160, 60), (210, 210, 210), (60, 190, 240)], float
)
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
