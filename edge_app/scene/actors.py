"""Turns posed bodies into drawings: polygons, shadows and lamps as the camera sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.scene.bicycles import bicycle, wheel_rims
from edge_app.scene.camera import NEAR_M, Camera, Floats
from edge_app.scene.coachwork import Vehicle
from edge_app.scene.dogs import Dog, trotting
from edge_app.scene.drawing import Drawing, Glow, extent, fixed, mesh_polygons, place, shade_mesh
from edge_app.scene.flesh import Flesh, project
from edge_app.scene.layout import Street
from edge_app.scene.light import Light
from edge_app.scene.people import Person, riding, walking
from edge_app.scene.recent import Recent
from edge_app.scene.traffic import BICYCLE, DOG, PERSON, Cyclist, Posed

LAMP_COLOUR = (150.0, 205.0, 230.0)
CACHED_COLOURS = 128
FIGURE_RADIUS_M = 1.4
FAR_SHARE = 0.04  # of the focal length in pixels, in metres along the street: where fingers are too small
RUBBER = np.array((30.0, 29.0, 29.0))
NOWHERE = np.zeros(4)
_TURN = np.linspace(0.0, 2.0 * np.pi, 8, endpoint=False)
RING = np.stack([np.cos(_TURN), np.sin(_TURN), np.zeros(8)], axis=-1)


class Artist:
    """Draws what moves in one street under one light."""

    def __init__(self, camera: Camera, street: Street, light: Light) -> None:
        self._camera = camera
        self._street = street
        self._light = light
        self._colours: Recent[tuple[int, float, bool], tuple[Vehicle, Floats]] = Recent(CACHED_COLOURS)

    def draw(self, everyone: Sequence[Posed]) -> list[Drawing]:
        """The drawings of all that can be in sight: two for a cyclist, one for anything else."""
        drawings: list[Drawing] = []
        jointed: list[tuple[Drawing, Flesh, Posed]] = []
        places = np.array([(posed.x, posed.y, 1.0) for posed in everyone]).reshape(-1, 3)
        radii = np.array(
            [p.body.radius_m if isinstance(p.body, Vehicle) else FIGURE_RADIUS_M for p in everyone]
        )
        for group in np.flatnonzero(self._camera.sees(places, radii)).tolist():
            posed = everyone[group]
            if isinstance(posed.body, Vehicle):
                drawings += self._vehicle(posed.body, posed)
            elif isinstance(posed.body, Cyclist):
                jointed += self._cyclist(posed.body, posed, group)
            else:
                jointed.append(self._walker(posed.body, posed))
        self._flesh_out(jointed)
        return drawings + [drawing for drawing, _, _ in jointed]

    def _walker(self, body: Person | Dog, posed: Posed) -> tuple[Drawing, Flesh, Posed]:
        near, away = self._side(posed)
        if isinstance(body, Person):
            far = abs(posed.x) > FAR_SHARE * self._camera.focal_px
            flesh = walking(body, posed.phase, posed.stride, near, away, far)
        else:
            flesh = trotting(body, posed.phase, posed.stride, near, away)
        order = self._street.order(posed.x, posed.y)
        return Drawing(order, posed.class_id, [], [], NOWHERE), flesh, posed

    def _cyclist(self, body: Cyclist, posed: Posed, group: int) -> list[tuple[Drawing, Flesh, Posed]]:
        order, pedal = self._street.order(posed.x, posed.y), posed.phase * 0.4
        bike = Drawing(order, BICYCLE, [], [], NOWHERE, group)
        parts = [(bike, bicycle(body.paint, pedal), posed)]
        if body.rides:
            above = (order[0], order[1], order[2] + 1e-3)
            rider = Drawing(above, PERSON, [], [], NOWHERE, group)
            parts.append((rider, riding(body.person, pedal, *self._side(posed)), posed))
        return parts

    def _flesh_out(self, jointed: Sequence[tuple[Drawing, Flesh, Posed]]) -> None:
        """Fills in polygons, boxes, wheels and shadows."""
        positions = np.array([(posed.x, posed.y, 0.0) for _, _, posed in jointed]).reshape(-1, 3)
        headings = np.array([posed.heading for _, _, posed in jointed])
        shapes = project([flesh for _, flesh, _ in jointed], positions, headings, self._camera, self._light)
        shadows = self._shadows([posed for _, _, posed in jointed], positions)
        for (drawing, _, posed), shape, shadow in zip(jointed, shapes, shadows, strict=True):
            drawing.polygons, drawing.colours, drawing.xyxy = shape.polygons, shape.colours, shape.xyxy
            if drawing.class_id == BICYCLE:
                self._add_wheels(drawing, posed)
            drawing.shadow = shadow

    def _add_wheels(self, drawing: Drawing, posed: Posed) -> None:
        position = np.array([posed.x, posed.y, 0.0])
        rims = wheel_rims(self._camera, position, posed.heading)
        distance = max(float(self._camera.axes[2] @ (position - self._camera.position)), 1.0)
        thick = max(round(0.055 * self._camera.focal_px / distance), 1)
        shade = self._light.fade(self._light.soft(RUBBER), distance).tolist()
        drawing.strokes = [(rim, (shade[0], shade[1], shade[2]), thick) for rim in rims]
        drawing.xyxy = extent([*drawing.polygons, *rims]) + np.array([-0.5, -0.5, 0.5, 0.5]) * thick

    def _vehicle(self, vehicle: Vehicle, posed: Posed) -> list[Drawing]:
        position = np.array([posed.x, posed.y, 0.0])
        forward = math.cos(posed.heading)
        from_behind = vehicle.behind is not None and forward * posed.x > 0.0
        mesh = vehicle.behind if from_behind and vehicle.behind is not None else vehicle.mesh
        key = (id(vehicle), posed.heading, from_behind)
        # With the vehicle, whose id it would otherwise leave to another one.
        _, colours = self._colours.get(key, lambda: (vehicle, shade_mesh(mesh, self._light, posed.heading)))
        polygons, shown = mesh_polygons(mesh, colours, self._camera, self._light, position, posed.heading)
        if not polygons:
            return []
        drawing = Drawing(
            self._street.order(posed.x, posed.y), posed.class_id, polygons, shown, extent(polygons)
        )
        drawing.shadow = self._box_shadow(vehicle, position, posed.heading)
        if self._light.lamps > 0.3:
            self._headlamps(vehicle, position, posed.heading, drawing)
        return [drawing]

    def _headlamps(self, vehicle: Vehicle, position: Floats, heading: float, drawing: Drawing) -> None:
        half = vehicle.length_m / 2
        y, z = vehicle.lamp_m
        towards = float(np.cos(heading)) * (self._camera.position[0] - position[0]) > half
        local = np.array([(half, y, z), (half, -y, z), (half + 4.0, 0.0, 0.0), (-half, y, z), (-half, -y, z)])
        view = self._camera.to_view(place(local, position, heading))
        image, scale = self._camera.to_image(view), self._camera.focal_px / np.maximum(view[:, 2], NEAR_M)
        strength = self._light.lamps
        for number in (0, 1) if towards else (3, 4):
            if view[number, 2] > 2.0:
                size = scale[number] * (0.5 if towards else 0.28)
                colour = LAMP_COLOUR if towards else (20.0, 16.0, 120.0)
                drawing.glows.append(Glow.at(image[number], size, size, np.array(colour) * strength))
        if view[2, 2] > 3.0:
            reach = scale[2] * 3.4
            flat = max(self._camera.position[2] / view[2, 2], 0.12)
            pool = np.array(LAMP_COLOUR) * 0.42 * strength
            drawing.pools.append(Glow.at(image[2], reach, reach * flat, pool))

    def _side(self, posed: Posed) -> tuple[float, bool]:
        """Which side of a body the camera sees (+1 left, -1 right), and whether it sees the back."""
        to_camera = self._camera.position - (posed.x, posed.y, 0.0)
        left = -math.sin(posed.heading) * to_camera[0] + math.cos(posed.heading) * to_camera[1]
        ahead = math.cos(posed.heading) * to_camera[0] + math.sin(posed.heading) * to_camera[1]
        return (1.0 if left > 0 else -1.0), bool(ahead < 0)

    def _box_shadow(self, vehicle: Vehicle, position: Floats, heading: float) -> NDArray[np.int32] | None:
        x, y, low = vehicle.length_m / 2, vehicle.width_m / 2, 0.12
        corners = np.array([(sx * x, sy * y, 0.0) for sx in (-1, 1) for sy in (-1, 1)])
        ground = place(corners * (1.0 + low / x, 1.0 + low / y, 1.0), position, heading)
        if self._light.shadow > 0:
            ground = np.concatenate(
                [ground, place(corners * 0.9, position, heading) + self._cast(vehicle.height_m * 0.92)]
            )
        return self._ground_hull(ground)

    def _shadows(self, everyone: Sequence[Posed], positions: Floats) -> list[NDArray[np.int32] | None]:
        """The shadows of jointed figures: from a ring around the feet to where the head's shadow lies."""
        if not everyone:
            return []
        ground = (
            positions[:, None, :]
            + RING
            * np.array([0.4 if posed.class_id == BICYCLE else 0.2 for posed in everyone])[:, None, None]
        )
        if self._light.shadow > 0:
            tall = np.array([0.5 if posed.class_id == DOG else 1.6 for posed in everyone])
            reach = tall[:, None, None] * self._cast(1.0)
            ground = np.concatenate([ground, positions[:, None, :] + RING * 0.13 + reach], axis=1)
        view = self._camera.to_view(ground)
        outlines, seen = fixed(self._camera.to_image(view)), view[..., 2].min(axis=1) > NEAR_M
        return [
            np.asarray(cv2.convexHull(outline), np.int32) if inside else None
            for outline, inside in zip(outlines, seen.tolist(), strict=True)
        ]

    def _cast(self, tall_m: float) -> Floats:
        """How far on the ground the shadow of a point at that height lies."""
        sun = self._light.sun_direction
        shift: Floats = -sun * (tall_m / sun[2]) * (1.0, 1.0, 0.0)
        return shift

    def _ground_hull(self, ground: Floats) -> NDArray[np.int32] | None:
        view = self._camera.to_view(ground)
        if float(view[:, 2].min()) < NEAR_M:
            return None
        hull = cv2.convexHull(fixed(self._camera.to_image(view)))
        return np.asarray(hull, dtype=np.int32)
