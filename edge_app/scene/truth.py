"""What a detector is asked to find in a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.scene.camera import Floats
from edge_app.scene.drawing import SHIFT, Drawing

VISIBLE_SHARE = 0.4  # of the whole object; below, it is ignored
SEEN_SHARE = 0.04  # below, it is not listed at all
# Of the image's long side, for the square root of the box's area: 32 px at 1280, where COCO's "small" ends.
SMALL_SHARE = 0.025
RASTER_PX = 512  # long side of the picture in which hiding is counted


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The objects of one frame.

    A box is drawn around all of an object that lies inside the image, also around parts that others hide.
    `ignore` marks objects of which less than VISIBLE_SHARE is to be seen (hidden or cut off by the image's
    edge) or that are smaller than SMALL_SHARE: a detector is neither asked for them nor punished for them.
    """

    xyxy: NDArray[np.float32]  # (N, 4) image pixels, clipped
    class_id: NDArray[np.int32]  # (N,)
    ignore: NDArray[np.bool_]  # (N,)


def visible_shares(drawings: Sequence[Drawing], width: int, height: int) -> NDArray[np.float64]:
    """The share (N,) of each drawing's outline that is in the image and not hidden; drawings far to near."""
    scale = min(RASTER_PX / max(width, height), 1.0)
    raster = np.zeros((max(round(height * scale), 1), max(round(width * scale), 1)), np.uint16)
    owners = np.zeros(len(drawings), np.intp)
    whole = np.ones(len(drawings))
    groups: dict[int, int] = {}
    for number, drawing in enumerate(drawings, start=1):
        hull = drawing.hull()
        if scale < 1.0:
            hull = np.rint(hull * scale).astype(np.int32)
        first = groups.setdefault(drawing.group, number) if drawing.group >= 0 else number
        owners[number - 1] = first
        cv2.fillConvexPoly(raster, hull, first, cv2.LINE_8, SHIFT)
        # A filled outline covers its border pixels too: half the perimeter more than its area.
        area = cv2.contourArea(hull) / (1 << 2 * SHIFT) + cv2.arcLength(hull, True) / (2 << SHIFT) + 1.0
        whole[first - 1] = area if first == number else max(whole[first - 1], area)
    counts = np.bincount(raster.ravel(), minlength=len(drawings) + 1)
    shares: NDArray[np.float64] = counts[owners] / whole[owners - 1] if len(drawings) else np.zeros(0)
    return shares


def box_inside(drawing: Drawing, width: int, height: int) -> Floats:
    """The box (4,) in pixels around the part of a drawing that lies in the image; zeros when none does.

    Its corners are among the corners that lie inside, the crossings of edges with the image's border, and the
    image's own corners that are covered.
    """
    limits = np.array((width, height), dtype=np.float64)
    if (drawing.xyxy[:2] >= 0).all() and (drawing.xyxy[2:] <= limits).all():
        return drawing.xyxy
    parts = [*drawing.polygons, *(points for points, _, _ in drawing.strokes)]
    starts = np.concatenate(parts) / (1 << SHIFT) + 0.5
    ends = np.concatenate([np.roll(part, -1, axis=0) for part in parts]) / (1 << SHIFT) + 0.5
    found = [starts[(starts >= 0).all(axis=1) & (starts <= limits).all(axis=1)]]
    for axis, limit in ((0, 0.0), (0, limits[0]), (1, 0.0), (1, limits[1])):
        before, after = starts[:, axis] - limit, ends[:, axis] - limit
        cut = (before < 0) != (after < 0)
        share = (before[cut] / (before[cut] - after[cut]))[:, None]
        points = starts[cut] + share * (ends[cut] - starts[cut])
        other = points[:, 1 - axis]
        found.append(points[(other >= 0) & (other <= limits[1 - axis])])
    for corner in ((0.0, 0.0), (limits[0], 0.0), (0.0, limits[1]), (limits[0], limits[1])):
        spot = ((corner[0] - 0.5) * (1 << SHIFT), (corner[1] - 0.5) * (1 << SHIFT))
        if any(cv2.pointPolygonTest(part, spot, False) >= 0 for part in drawing.polygons):
            found.append(np.array([corner]))
    every = np.concatenate(found)
    if not len(every):
        return np.zeros(4)
    margin = max((thickness for _, _, thickness in drawing.strokes), default=0) * 0.5
    return np.concatenate([every.min(axis=0) - margin, every.max(axis=0) + margin])


def collect(drawings: Sequence[Drawing], width: int, height: int) -> Truth:
    """The truth of a frame whose drawings are given far to near, furniture included."""
    shares = visible_shares(drawings, width, height)
    rows = [
        (d, s) for d, s in zip(drawings, shares, strict=True) if d.class_id is not None and s >= SEEN_SHARE
    ]
    boxes = np.array([box_inside(drawing, width, height) for drawing, _ in rows]).reshape(-1, 4)
    clipped = np.clip(boxes, 0.0, (width, height, width, height))
    size = clipped[:, 2:] - clipped[:, :2]
    shown = (size > 1.0).all(axis=1)
    small = np.sqrt(size.prod(axis=1).clip(0.0)) < SMALL_SHARE * max(width, height)
    hidden = np.array([share < VISIBLE_SHARE for _, share in rows], dtype=np.bool_)
    class_id = np.array([drawing.class_id for drawing, _ in rows], dtype=np.int32)
    return Truth(clipped[shown].astype(np.float32), class_id[shown], (small | hidden)[shown])
