"""Time of day and weather: what turns a surface's own colour into what the camera sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_app.scene.camera import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """One scene's light. Colours are BGR; `ambient` and `sun` multiply a surface's colour."""

    name: str
    ambient: Floats
    sun: Floats
    sun_direction: Floats  # towards the sun, unit length
    haze: Floats  # colour that the distance fades into, 0..255
    haze_m: float  # distance at which 63 % has faded
    sky_top: Floats
    sky_bottom: Floats
    shadow: float  # share of light that a cast shadow takes away; 0 for none
    lamps: float  # 0 by day .. 1 at night: how much lamps matter
    noise_sigma: float

    def shade(self, colour: Floats, normal: Floats) -> Floats:
        """Lambert shading of BGR colours (..., 3) on surfaces with unit normals (..., 3)."""
        facing = np.maximum(normal @ self.sun_direction, 0.0)[..., None]
        shaded: Floats = colour * (self.ambient * (0.8 + 0.2 * normal[..., 2:]) + self.sun * facing)
        return np.clip(shaded, 0.0, 255.0)

    def soft(self, colour: Floats) -> Floats:
        """Shading for round things, which have no single normal."""
        shaded: Floats = colour * (self.ambient + self.sun * 0.55)
        return np.clip(shaded, 0.0, 255.0)

    def fade(self, colour: Floats, distance_m: float | Floats) -> Floats:
        """Mixes in the haze of that distance."""
        kept = np.exp(-np.asarray(distance_m) / self.haze_m)
        faded: Floats = colour * kept + self.haze * (1.0 - kept)
        return faded


def _bgr(blue: float, green: float, red: float) -> Floats:
    return np.array([blue, green, red])


def choose_light(rng: np.random.Generator) -> Light:
    """Draws a time of day, its weather and a colour cast."""
    name = str(rng.choice(["sunny", "overcast", "dusk", "night", "fog"], p=[0.38, 0.24, 0.15, 0.15, 0.08]))
    cast = rng.normal(1.0, 0.03, 3)
    exposure = rng.uniform(0.88, 1.12)
    turn = rng.uniform(0.0, 2.0 * np.pi)
    rise = np.radians(rng.uniform(14, 24) if name == "dusk" else rng.uniform(32, 65))
    direction = np.array([np.cos(turn) * np.cos(rise), np.sin(turn) * np.cos(rise), np.sin(rise)])
    ambient, sun, haze, top, bottom, haze_m, shadow, lamps, noise = {
        "sunny": (
            _bgr(0.76, 0.71, 0.67), _bgr(0.50, 0.58, 0.62), _bgr(226, 212, 196), _bgr(214, 152, 92),
            _bgr(240, 226, 208), rng.uniform(260, 600), 0.5, 0.0, rng.uniform(0.8, 3.0),
        ),
        "overcast": (
            _bgr(0.92, 0.90, 0.88), _bgr(0.10, 0.10, 0.10), _bgr(206, 204, 202), _bgr(190, 182, 174),
            _bgr(222, 220, 218), rng.uniform(150, 380), 0.0, 0.0, rng.uniform(1.0, 3.5),
        ),
        "dusk": (
            _bgr(0.58, 0.50, 0.50), _bgr(0.22, 0.38, 0.56), _bgr(128, 146, 196), _bgr(150, 98, 72),
            _bgr(112, 164, 236), rng.uniform(180, 420), 0.35, 0.45, rng.uniform(1.5, 4.5),
        ),
        "night": (
            _bgr(0.37, 0.33, 0.32), _bgr(0.05, 0.06, 0.07), _bgr(52, 40, 36), _bgr(34, 22, 16),
            _bgr(66, 52, 46), rng.uniform(150, 400), 0.0, 1.0, rng.uniform(3.0, 7.0),
        ),
        "fog": (
            _bgr(0.90, 0.89, 0.88), _bgr(0.05, 0.05, 0.05), _bgr(208, 206, 204), _bgr(200, 198, 196),
            _bgr(212, 210, 208), rng.uniform(55, 110), 0.0, 0.15, rng.uniform(1.0, 3.5),
        ),
    }[name]  # fmt: skip
    tint = cast * exposure
    return Light(
        name=name,
        ambient=ambient * tint,
        sun=sun * tint,
        sun_direction=direction,
        haze=np.clip(haze * cast, 0, 255),
        haze_m=float(haze_m),
        sky_top=np.clip(top * cast, 0, 255),
        sky_bottom=np.clip(bottom * cast, 0, 255),
        shadow=float(shadow),
        lamps=float(lamps),
        noise_sigma=float(noise),
    )
