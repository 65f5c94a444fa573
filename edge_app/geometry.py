"""Pure box and letterbox mathematics: what a model sees, and how its boxes come back to the image."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


class Layout(str, Enum):
    """Order of the axes of a model's image input."""

    NCHW = "nchw"
    NHWC = "nhwc"


class Color(str, Enum):
    """Order of the colour channels that a model expects."""

    RGB = "rgb"
    BGR = "bgr"


class Fit(str, Enum):
    """How an image of another aspect ratio comes into the model's input."""

    LETTERBOX = "letterbox"
    """Scaled by one factor and padded."""
    STRETCH = "stretch"
    """Scaled by a factor for each axis; no padding."""


class Align(str, Enum):
    """Where a letterboxed image lies in the model's input."""

    CENTER = "center"
    TOP_LEFT = "top_left"
    """The padding is at the bottom and right, as YOLOX and YOLO-NAS want it."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model's image input wants: value = (pixel * scale - mean) / std, channel by channel.

    `width` and `height` are in pixels; `mean` and `std` are in the model's channel order.

    Raises:
        ValueError: If a size is not positive, a `std` is 0 or `pad_value` is not a pixel value.
    """

    width: int
    height: int
    layout: Layout = Layout.NCHW
    color: Color = Color.RGB
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fit: Fit = Fit.LETTERBOX
    align: Align = Align.CENTER
    pad_value: int = 114

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"width and height must be positive, found {self.width}x{self.height}")
        if 0 in self.std:
            raise ValueError(f"std must not contain 0, found {self.std}")
        if not 0 <= self.pad_value <= 255:
            raise ValueError(f"pad_value must be 0 to 255, found {self.pad_value}")

    def shape(self, batch: int) -> tuple[int, int, int, int]:
        """Return the shape of an input tensor that holds `batch` images."""
        if self.layout is Layout.NCHW:
            return (batch, 3, self.height, self.width)
        return (batch, self.height, self.width, 3)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """The way between image pixels and model input pixels: `model = image * scale + offset`.

    Attributes:
        image_wh: Size of the image in pixels.
        resized_wh: Size in pixels that the image has inside the model's input.
        offset_xy: Where its top left corner lies there, in pixels.
    """

    image_wh: tuple[int, int]
    resized_wh: tuple[int, int]
    offset_xy: tuple[int, int]
    _offset: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    _gain: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    _limit: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    """(4,) each, as the columns of a box want them; made once, as boxes of every frame are mapped."""

    def __post_init__(self) -> None:
        (width, height), (resized_width, resized_height) = self.image_wh, self.resized_wh
        for name, (x, y) in {
            "_offset": self.offset_xy,
            "_gain": (width / resized_width, height / resized_height),
            "_limit": self.image_wh,
        }.items():
            object.__setattr__(self, name, np.array([x, y, x, y], np.float32))

    @staticmethod
    @lru_cache(maxsize=256)
    def fit(image_wh: tuple[int, int], spec: InputSpec) -> Letterbox:
        """Return how an image of `image_wh` pixels is laid into the input that `spec` describes.

        Rounding is that of the widely used reference: the resized size is rounded half to even, and an
        odd padding pixel goes to the bottom or right.

        Raises:
            ValueError: If the image has no pixels.
        """
        width, height = image_wh
        if width < 1 or height < 1:
            raise ValueError(f"an image needs at least one pixel, found {width}x{height}")
        if spec.fit is Fit.STRETCH:
            return Letterbox(image_wh, (spec.width, spec.height), (0, 0))
        ratio = min(spec.width / width, spec.height / height)
        resized = (
            min(spec.width, max(1, round(width * ratio))),
            min(spec.height, max(1, round(height * ratio))),
        )
        if spec.align is Align.TOP_LEFT:
            return Letterbox(image_wh, resized, (0, 0))
        pad_x, pad_y = spec.width - resized[0], spec.height - resized[1]
        return Letterbox(image_wh, resized, (round(pad_x / 2 - 0.1), round(pad_y / 2 - 0.1)))

    def to_image(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes (N, 4) from model input pixels to image pixels, clipped to the image.

        The factors are those of the resized size after rounding, axis by axis, so that the edges of the
        resized image are the edges of the image.
        """
        boxes = xyxy - self._offset
        boxes *= self._gain
        np.maximum(boxes, 0, out=boxes)
        np.minimum(boxes, self._limit, out=boxes)
        return boxes

    def to_model(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes (N, 4) from image pixels to model input pixels."""
        boxes: NDArray[np.float32] = np.divide(xyxy, self._gain)
        boxes += self._offset
        return boxes


def has_area(xyxy: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which boxes (N, 4) are finite, have x1 < x2 and y1 < y2, and a float32 area above 0."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        width = xyxy[:, 2] - xyxy[:, 0]
        area = width * (xyxy[:, 3] - xyxy[:, 1])
    usable: NDArray[np.bool_] = (width > 0) & (area > 0) & (area < np.inf)
    return usable


def iou_matrix(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersection over union of every pair of boxes.

    Args:
        first: (N, 4) float32 xyxy.
        second: (M, 4) float32 xyxy, in the same pixels.

    Returns:
        (N, M) float32 in 0..1; 0 where both boxes have no area.
    """
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum(bottom_right - top_left, 0)
    intersection = sides[..., 0] * sides[..., 1]
    area_first = (first[:, 2] - first[:, 0]) * (first[:, 3] - first[:, 1])
    area_second = (second[:, 2] - second[:, 0]) * (second[:, 3] - second[:, 1])
    union = area_first[:, None] + area_second[None, :] - intersection
    iou: NDArray[np.float32] = np.divide(
        intersection, union, out=np.zeros_like(intersection), where=union > 0
    )
    return iou
