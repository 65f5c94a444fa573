"""What stands still: trees, lamp posts, signs, bins, traffic lights, hedges, parked cars and bicycles."""

from __future__ import annotations

import math

import numpy as np

from edge_app.scene.actors import Artist
from edge_app.scene.bicycles import BIKE_PAINTS
from edge_app.scene.camera import NEAR_M, Camera, Floats
from edge_app.scene.drawing import Drawing, Glow
from edge_app.scene.flesh import Flesh, project
from edge_app.scene.layout import FAR_X_M, Street, Strip
from edge_app.scene.light import Light
from edge_app.scene.people import make_person
from edge_app.scene.traffic import BICYCLE, CAR, TRUCK, Cyclist, Posed
from edge_app.scene.vehicles import make_car, make_truck

METAL = np.array((96.0, 98.0, 98.0))
TREES_FROM_M, BICYCLES_FROM_M = 10.0, 6.0  # nearer ones would fill the picture
DARK_METAL = np.array((52.0, 54.0, 54.0))


def furnish(
    rng: np.random.Generator, camera: Camera, street: Street, light: Light, artist: Artist
) -> list[Drawing]:
    """Everything that stands in the street, far to near."""
    drawings: list[Drawing] = []
    for strip in street.strips:
        if strip.kind == "kerb":
            drawings += _kerbside(rng, camera, street, light, strip, artist)
        elif strip.kind == "parking":
            drawings += _parked(rng, street, strip, artist)
    drawings.sort(key=lambda drawing: drawing.order)
    return drawings


def _parked(rng: np.random.Generator, street: Street, strip: Strip, artist: Artist) -> list[Drawing]:
    drawings: list[Drawing] = []
    fill, heading = rng.uniform(0.3, 0.8), 0.0 if strip.direction > 0 else math.pi
    for x in np.arange(-9.0, 100.0, 6.4):
        clear = street.crossing_x is None or abs(x - street.crossing_x) > 7.0
        if clear and rng.random() < fill:
            truck = rng.random() < 0.06
            vehicle = make_truck(rng, 0.0) if truck else make_car(rng, 0.0)
            place = (float(x + rng.uniform(-0.3, 0.3)), strip.middle + float(rng.uniform(-0.1, 0.1)))
            if vehicle.length_m < 6.3:
                drawings += artist.draw([Posed(vehicle, TRUCK if truck else CAR, *place, heading)])
    for drawing in drawings:
        drawing.glows, drawing.pools = [], []
    return drawings


def _kerbside(
    rng: np.random.Generator, camera: Camera, street: Street, light: Light, strip: Strip, artist: Artist
) -> list[Drawing]:
    drawings: list[Drawing] = []
    trees, posts = rng.uniform(0.0, 0.6), rng.uniform(18.0, 30.0)
    next_post = rng.uniform(2.0, posts)
    side, crossing = 1 if strip.middle > 0 else -1, street.crossing_x
    for x in np.arange(3.0, FAR_X_M["kerb"], 3.2):
        if crossing is not None and abs(x - crossing) < 3.4:
            continue
        where = np.array([x + rng.uniform(-0.5, 0.5), strip.middle, 0.0])
        if x >= next_post:
            next_post = x + posts
            drawings += _stand(*_lamp_post(side, light), where, camera, street, light)
        else:
            drawings += _something(rng, trees, where, camera, street, light, artist, float(x))
    for offset in (-3.6, 3.6) if crossing is not None else ():
        where = np.array([(crossing or 0.0) + offset, strip.middle, 0.0])
        drawings += _stand(_traffic_light(), None, where, camera, street, light)
    return drawings


def _something(
    rng: np.random.Generator,
    trees: float,
    where: Floats,
    camera: Camera,
    street: Street,
    light: Light,
    artist: Artist,
    x: float,
) -> list[Drawing]:
    """A tree, a small thing, a parked bicycle or nothing."""
    if rng.random() < trees * 0.5:
        return _stand(_tree(rng), None, where, camera, street, light) if x >= TREES_FROM_M else []
    if rng.random() < 0.34:
        return _stand(_small_thing(rng), None, where, camera, street, light)
    if rng.random() < 0.14:
        bicycle = _parked_bicycle(rng, where, artist)
        return bicycle if x > BICYCLES_FROM_M else []
    return []


def _parked_bicycle(rng: np.random.Generator, where: Floats, artist: Artist) -> list[Drawing]:
    bike = Cyclist(make_person(rng), BIKE_PAINTS[rng.integers(len(BIKE_PAINTS))], rides=False)
    heading = float(rng.choice([0.0, math.pi])) + 0.15
    drawings = artist.draw([Posed(bike, BICYCLE, where[0], where[1], heading)])
    for drawing in drawings:
        drawing.group = -1
    return drawings


def _stand(
    flesh: Flesh, glow: Floats | None, where: Floats, camera: Camera, street: Street, light: Light
) -> list[Drawing]:
    if (
        camera.to_view(where)[2] < 2.5
        or not camera.sees(where[None] + (0.0, 0.0, 2.5), np.array([4.0])).any()
    ):
        return []
    (shape,) = project([flesh], where[None], np.zeros(1), camera, light)
    drawing = Drawing(street.order(where[0], where[1]), None, shape.polygons, shape.colours, shape.xyxy)
    if glow is not None and light.lamps > 0.2:
        for spot, radius, strength, flat in (
            (where + glow, 1.1, 0.9, 1.0),
            (where + glow * (1, 1, 0), 6.0, 0.4, 0.3),
        ):
            view = camera.to_view(spot)
            if view[2] > NEAR_M * 4:
                size = radius * camera.focal_px / view[2]
                tint = np.array((130.0, 196.0, 236.0)) * strength * light.lamps
                target = drawing.glows if flat == 1.0 else drawing.pools
                target.append(Glow.at(camera.to_image(view), size, size * flat, tint))
    return [drawing]


def _tree(rng: np.random.Generator) -> Flesh:
    flesh, bark = Flesh(), np.array((48.0, 66.0, 84.0)) * rng.uniform(0.7, 1.1)
    tall, wide = rng.uniform(3.6, 6.5), rng.uniform(1.1, 2.0)
    leaf = np.array([(52, 112, 74), (40, 92, 66), (60, 130, 110), (50, 120, 150)])[
        rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])
    ]
    flesh.limb((0, 0, 0), (0, 0, tall - wide * 0.5), (0.16, 0.1), bark)
    for y in (-0.5, 0.5):
        flesh.limb((0, 0, tall - wide), (0.2 * y, y * wide, tall), (0.07, 0.04), bark)
    blobs = np.clip(rng.normal(0.0, 0.48, (30, 3)), -0.85, 0.85) * (wide, wide, wide * 0.8)
    for dx, dy, dz in blobs[np.argsort(blobs[:, 2])]:
        shade = 0.72 + 0.32 * (dz / wide + 0.8) * rng.uniform(0.8, 1.15)
        centre = (float(dx), float(dy), float(tall + dz))
        size = float(wide * rng.uniform(0.22, 0.42))
        flesh.limb(centre, centre, (size, size), leaf * shade)
    return flesh


def _lamp_post(side: int, light: Light) -> tuple[Flesh, Floats]:
    flesh, lamp = Flesh(), np.array([0.0, -side * 1.7, 6.0])
    flesh.limb((0, 0, 0), (0, 0, 6.1), (0.09, 0.06), METAL)
    flesh.limb((0, 0, 6.1), (0, lamp[1], 6.15), (0.05, 0.05), METAL)
    shine = (
        np.array((200.0, 236.0, 250.0)) / np.maximum(light.ambient, 0.2) if light.lamps > 0.2 else METAL * 1.8
    )
    flesh.limb((0, lamp[1] + side * 0.3, 6.06), (0, lamp[1], 6.06), (0.1, 0.08), shine)
    return flesh, lamp


def _traffic_light() -> Flesh:
    flesh = Flesh()
    flesh.limb((0, 0, 0), (0, 0, 2.5), (0.06, 0.06), DARK_METAL)
    flesh.limb((0, 0, 2.3), (0, 0, 3.0), (0.17, 0.17), DARK_METAL * 0.6)
    for z, colour in (
        (2.98, (60.0, 60.0, 200.0)),
        (2.66, (60.0, 150.0, 190.0)),
        (2.34, (120.0, 170.0, 50.0)),
    ):
        flesh.limb((-0.1, 0, z), (-0.1, 0, z), (0.1, 0.1), np.array(colour))
    return flesh


def _small_thing(rng: np.random.Generator) -> Flesh:
    """A bollard, bin, hydrant, sign, planter or bench: things that are none of the classes."""
    flesh, kind = Flesh(), int(rng.integers(6))
    if kind == 0:
        flesh.limb((0, 0, 0.0), (0, 0, 0.85), (0.09, 0.09), DARK_METAL)
        flesh.limb((0, 0, 0.72), (0, 0, 0.74), (0.1, 0.1), np.array((220.0, 220.0, 220.0)))
    elif kind == 1:
        flesh.limb((0, 0, 0.25), (0, 0, 0.85), (0.28, 0.3), np.array((60.0, 84.0, 50.0)))
        flesh.limb((0, -0.12, 0.98), (0, 0.12, 0.98), (0.16, 0.16), DARK_METAL)
    elif kind == 2:
        red = np.array((44.0, 40.0, 180.0))
        flesh.limb((0, 0, 0.0), (0, 0, 0.62), (0.14, 0.13), red)
        flesh.limb((0, -0.16, 0.5), (0, 0.16, 0.5), (0.07, 0.07), red * 0.8)
    elif kind == 3:
        colour = np.array([(190, 110, 30), (50, 40, 190), (60, 180, 235)])[rng.integers(3)].astype(float)
        flesh.limb((0, 0, 0), (0, 0, 2.5), (0.04, 0.04), METAL)
        flesh.limb((0, 0, 2.3), (0, 0, 2.3), (0.34, 0.34), np.array((228.0, 228.0, 228.0)))
        flesh.limb((-0.05, 0, 2.3), (-0.05, 0, 2.3), (0.27, 0.27), colour)
    elif kind == 4:
        for x in (-0.6, 0.0, 0.6):
            flesh.limb(
                (x, 0, 0.65),
                (x, 0.1, 0.85),
                (0.34, 0.3),
                np.array((56.0, 120.0, 80.0)) * rng.uniform(0.8, 1.2),
            )
        flesh.limb((-0.7, 0, 0.25), (0.7, 0, 0.25), (0.3, 0.3), np.array((110.0, 120.0, 128.0)))
    else:
        wood = np.array((60.0, 96.0, 140.0))
        for x in (-0.7, 0.7):
            flesh.limb((x, 0, 0.0), (x, 0, 0.45), (0.05, 0.05), DARK_METAL)
        for z in (0.46, 0.68, 0.84):
            flesh.limb((-0.9, 0, z), (0.9, 0, z), (0.06, 0.06), wood)
    return flesh
