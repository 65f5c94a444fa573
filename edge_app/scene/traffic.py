"""Who is where at a moment: every position is a closed form of time, so any frame can be asked for first.

Streams are endless rows of numbered slots that all move by one displacement; who fills a slot depends only on
the scene's seed and the slot's number. With a crossing, traffic stops for it together and people walk over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from edge_app.scene.bicycles import BIKE_PAINTS
from edge_app.scene.camera import Floats
from edge_app.scene.coachwork import Vehicle
from edge_app.scene.dogs import Dog, make_dog
from edge_app.scene.layout import FAR_X_M, NEAR_X_M, Street, Strip
from edge_app.scene.people import Person, make_person
from edge_app.scene.recent import Recent
from edge_app.scene.vehicles import make_bus, make_car, make_truck

PERSON, BICYCLE, CAR, TRUCK, BUS, DOG = range(6)

CYCLE_S = 26.0  # one round of the traffic light
GREEN = 0.52  # share of a round in which traffic moves
CACHED_SLOTS = 512


@dataclass(frozen=True, slots=True, eq=False)
class Cyclist:
    """A person and the paint of their bicycle."""

    person: Person
    paint: Floats
    rides: bool = True  # False: the bicycle is parked


Body = Vehicle | Person | Dog | Cyclist


@dataclass(frozen=True, slots=True, eq=False)
class Posed:
    """A body at a place: metres, radians, the gait's angle and its vigour 0..1."""

    body: Body
    class_id: int
    x: float
    y: float
    heading: float
    phase: float = 0.0
    stride: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """Someone in a slot: the offset from the slot's middle, and a phase of their own."""

    body: Body
    class_id: int
    dx: float
    dy: float
    phase: float


def eased(share: float) -> float:
    """0 to 1 with soft start and stop (a trapezoid of speed, ramps of a quarter each)."""
    u, ramp = min(max(share, 0.0), 1.0), 0.25
    if u < ramp:
        way = u * u / (2 * ramp)
    elif u <= 1 - ramp:
        way = u - ramp / 2
    else:
        way = 1 - ramp - (1 - u) * (1 - u) / (2 * ramp)
    return way / (1 - ramp)


Point = tuple[float, float]


def _along(stops: Sequence[Point], times: Sequence[float], moment: float) -> Point:
    """Where someone is who passes `stops` at `times`."""
    if moment <= times[0]:
        return stops[0]
    for (start, end), (since, until) in zip(pairwise(stops), pairwise(times), strict=True):
        if moment < until:
            share = (moment - since) / (until - since)
            return (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))
    return stops[-1]


class Traffic:
    """All that moves in one street."""

    def __init__(self, street: Street, seed: int, lamps: float, rng: np.random.Generator) -> None:
        self._street = street
        self._seed = seed
        self._lamps = lamps
        self._slots: Recent[tuple[int, int], tuple[Member, ...]] = Recent(CACHED_SLOTS)
        self._fill = {
            "lane": rng.uniform(0.4, 0.8),
            "bike": rng.uniform(0.15, 0.5),
            "walk": rng.uniform(0.3, 0.75),
        }
        self._speed = {
            "lane": rng.uniform(6.0, 11.0),
            "bike": rng.uniform(3.6, 5.2),
            "walk": rng.uniform(1.1, 1.5),
        }
        self._pitch = {"lane": 16.0, "bike": 9.0, "walk": rng.uniform(6.0, 11.0)}
        self._crossers = int(rng.integers(2, 5))
        self._start_s = float(rng.uniform(0.0, CYCLE_S))
        self._wheel = 1.0 / 0.34

    def at(self, time_s: float) -> list[Posed]:
        """Everyone in the peopled stretch, `time_s` seconds after the first frame."""
        now = time_s + self._start_s
        posed: list[Posed] = []
        for number, strip in enumerate(self._street.strips):
            if strip.kind in self._fill:
                self._stream(number, strip, now, posed)
        if self._street.crossing_x is not None:
            self._crossing(self._street.crossing_x, now, posed)
        return posed

    def _stream(self, number: int, strip: Strip, now: float, posed: list[Posed]) -> None:
        pitch, speed = self._pitch[strip.kind], self._speed[strip.kind] * (0.92 + 0.04 * (number % 5))
        origin, stops = self._street.crossing_x, strip.kind != "walk"
        if origin is not None and stops:
            rounds, share = divmod(now / CYCLE_S, 1.0)
            slots = max(round(speed * CYCLE_S * GREEN / pitch), 1)
            moved = (rounds + eased(share / GREEN)) * slots * pitch
            pace = 1.0 if 0.02 < share < GREEN - 0.02 else 0.0
        else:
            origin = 0.0
            moved = speed * now + 1.2 * math.sin(0.31 * now + number)
            pace = 1.0
        ahead = sorted(
            ((end - origin) * strip.direction - moved) / pitch for end in (NEAR_X_M, FAR_X_M[strip.kind])
        )
        heading = 0.0 if strip.direction > 0 else math.pi
        for slot in range(math.floor(ahead[0] - 0.5), math.ceil(ahead[1])):
            for member in self._members(number, slot, strip):
                sway = math.sin(0.4 * now + member.phase) if strip.kind == "walk" else 0.0
                along = (slot + 0.5) * pitch + moved + member.dx
                posed.append(
                    Posed(
                        member.body,
                        member.class_id,
                        origin + strip.direction * along,
                        strip.middle + member.dy + 0.12 * sway,
                        heading,
                        self._phase(member, moved),
                        pace,
                    )
                )

    def _phase(self, member: Member, moved: float) -> float:
        body = member.body
        if isinstance(body, Person):
            return member.phase + moved * 2 * math.pi / (0.8 * body.height_m)
        if isinstance(body, Dog):
            return member.phase + moved * 2 * math.pi / (0.7 * body.size)
        return member.phase + moved * self._wheel * 0.5

    def _members(self, number: int, slot: int, strip: Strip) -> tuple[Member, ...]:
        def make() -> tuple[Member, ...]:
            rng = np.random.default_rng([self._seed, number, slot & 0xFFFFFFFF])
            return self._draw_members(rng, strip) if rng.random() < self._fill[strip.kind] else ()

        return self._slots.get((number, slot), make)

    def _draw_members(self, rng: np.random.Generator, strip: Strip) -> tuple[Member, ...]:
        phase = float(rng.uniform(0, 2 * math.pi))
        if strip.kind == "lane":
            kind = int(rng.choice([CAR, TRUCK, BUS, BICYCLE], p=[0.62, 0.18, 0.15, 0.05]))
            if kind == BICYCLE:
                return (self._cyclist(rng, float(rng.uniform(-0.6, 0.6)), phase),)
            make = {CAR: make_car, TRUCK: make_truck, BUS: make_bus}[kind]
            vehicle = make(rng, self._lamps)
            room = max((13.0 - vehicle.length_m) / 2 - 0.6, 0.0)
            return (
                Member(
                    vehicle, kind, float(rng.uniform(-room, room)), float(rng.uniform(-0.15, 0.15)), phase
                ),
            )
        if strip.kind == "bike":
            return (self._cyclist(rng, float(rng.uniform(-2.0, 2.0)), phase),)
        return self._walkers(rng, phase)

    @staticmethod
    def _cyclist(rng: np.random.Generator, dx: float, phase: float) -> Member:
        paint = BIKE_PAINTS[rng.integers(len(BIKE_PAINTS))]
        return Member(Cyclist(make_person(rng), paint), BICYCLE, dx, float(rng.uniform(-0.2, 0.2)), phase)

    @staticmethod
    def _walkers(rng: np.random.Generator, phase: float) -> tuple[Member, ...]:
        """One person, two side by side, or one with a dog."""
        dx, kind = float(rng.uniform(-0.8, 0.8)), rng.random()
        if kind < 0.5:
            return (Member(make_person(rng), PERSON, dx, float(rng.uniform(-0.3, 0.3)), phase),)
        if kind < 0.68:
            return tuple(
                Member(make_person(rng), PERSON, dx + 0.25 * side, 0.42 * side, phase + side)
                for side in (-1.0, 1.0)
            )
        person = Member(make_person(rng), PERSON, dx - 0.5, -0.35, phase)
        dog = Member(make_dog(rng), DOG, dx + float(rng.uniform(0.5, 1.1)), 0.35, phase)
        return (dog,) if kind > 0.95 else (person, dog)

    def _crossing(self, crossing_x: float, now: float, posed: list[Posed]) -> None:
        """People who come along the houses, wait for the red light of the cars, cross and walk away."""
        here = math.floor(now / CYCLE_S)
        for cycle in range(here - 3, here + 4):
            for number in range(self._crossers):
                (member,) = self._slots.get(
                    (1000 + number, cycle), partial(self._draw_crosser, 1000 + number, cycle)
                )
                walk = self._crosser(member, number, cycle, crossing_x, now)
                if walk is not None:
                    posed.append(walk)

    def _draw_crosser(self, number: int, cycle: int) -> tuple[Member]:
        rng = np.random.default_rng([self._seed, number, cycle & 0xFFFFFFFF])
        body = make_dog(rng) if rng.random() < 0.08 else make_person(rng)
        kind = DOG if isinstance(body, Dog) else PERSON
        return (Member(body, kind, rng.uniform(-1.5, 1.5), rng.uniform(-0.3, 0.3), rng.uniform(0, 6.28)),)

    def _crosser(
        self, member: Member, number: int, cycle: int, crossing_x: float, now: float
    ) -> Posed | None:
        side = 1 if number % 2 else -1
        start_y, end_y = self._crosser_y(side) + member.dy, self._crosser_y(-side) + member.dy
        kerb = self._street.road_y[side] + side * 0.9
        speed, x = 1.25 + 0.05 * number, crossing_x + member.dx
        away = 1.0 if math.sin(member.phase) > 0 else -1.0
        go_s = (cycle + GREEN) * CYCLE_S + 0.5 + 0.5 * number
        points = [(x - away * 45.0, start_y), (x, start_y), (x, kerb), (x, end_y), (x + away * 70.0, end_y)]
        legs = [math.dist(a, b) / speed for a, b in pairwise(points)]
        wait_s = 3.0 + number
        times = [
            go_s - wait_s - legs[1] - legs[0],
            go_s - wait_s - legs[1],
            go_s - wait_s,
            go_s,
            go_s + legs[2],
        ]
        stops = [*points[:3], points[2], points[3], points[4]]
        times.append(times[-1] + legs[3])
        if not times[0] < now < times[-1]:
            return None

        def place(moment: float) -> Point:
            return _along(stops, times, moment)

        (x0, y0), (x1, y1), (x2, y2) = place(now - 0.45), place(now), place(now + 0.45)
        pace = min(math.hypot(x2 - x0, y2 - y0) / 0.9 / speed, 1.0)
        heading = math.atan2(y2 - y0, x2 - x0) if pace > 0.02 else math.atan2(-side, 0.0)
        walked = speed * (min(now, times[2]) + max(now - go_s, 0.0))
        where = ((x0 + x1 + x2) / 3, (y0 + y1 + y2) / 3)
        return Posed(member.body, member.class_id, *where, heading, self._phase(member, walked), pace)

    def _crosser_y(self, side: int) -> float:
        strips = [
            strip for strip in self._street.strips if strip.kind == "crosser" and strip.middle * side > 0
        ]
        return strips[0].middle
