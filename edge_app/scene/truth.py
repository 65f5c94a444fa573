"""What a detector is asked to find in a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.scene.drawing import SHIFT, Drawing

VISIBLE_SHARE = 0.4  # of the whole object; below, it is ignored
SEEN_SHARE = 0.04  # below, it is not listed at all
# Of the image's long side, for the square root of the box's area: 32 pixels at 1280, where COCO's "small" ends.
SMALL_SHARE = 0.025
RASTER_PX = 512  # long side of the picture in which hiding is counted


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The objects of one frame.

    A box is the full extent of its object (also of the parts that others hide), clipped to the image. `ignore` marks
    objects of which less than VISIBLE_SHARE is to be seen (hidden or cut off by the image's edge) or that are smaller
    than SMALL_SHARE: a detector is neither asked for them nor punished for finding them.
    """

    xyxy: NDArray[np.float32]  # (N, 4) image pixels, clipped
    class_id: NDArray[np.int32]  # (N,)
    ignore: NDArray[np.bool_]  # (N,)


def visible_shares(drawings: Sequence[Drawing], width: int, height: int) -> NDArray[np.float64]:
    """For each drawing (far to near) the share (N,) of its outline that is inside the image and not hidden."""
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


def collect(drawings: Sequence[Drawing], width: int, height: int) -> Truth:
    """The truth of a frame whose drawings are given far to near, furniture included."""
    shares = visible_shares(drawings, width, height)
    rows = [
        (d, s) for d, s in zip(drawings, shares, strict=True) if d.class_id is not None and s >= SEEN_SHARE
    ]
    boxes = np.array([drawing.xyxy for drawing, _ in rows]).reshape(-1, 4)
    clipped = np.clip(boxes, 0.0, (width, height, width, height))
    size = clipped[:, 2:] - clipped[:, :2]
    shown = (size > 1.0).all(axis=1)
    small = np.sqrt(size.prod(axis=1).clip(0.0)) < SMALL_SHARE * max(width, height)
    hidden = np.array([share < VISIBLE_SHARE for _, share in rows], dtype=np.bool_)
    class_id = np.array([drawing.class_id for drawing, _ in rows], dtype=np.int32)
    return Truth(clipped[shown].astype(np.float32), class_id[shown], (small | hidden)[shown])
