"""The letterbox on the GPU: the host's side of `kernels/letterbox.cu`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.geometry import Color, InputSpec, Layout, Letterbox
from edge_app.gpu.driver import cuda_errors
from edge_app.gpu.memory import Stream
from edge_app.messages import BT601_LIMITED_RANGE, PixelFormat, YuvColors, YuvMatrix

IMAGE_DTYPE = np.dtype(
    [("source", np.uint64), ("chroma", np.uint64)]
    + [
        (name, np.int32)
        for name in (
            *("width", "height", "pitch", "chroma_pitch", "format"),
            *("left", "top", "resized_width", "resized_height"),
            *("y_offset", "y_gain", "u_to_blue", "u_to_green", "v_to_green", "v_to_red"),
        )
    ],
    align=True,
)
"""One image of a batch, as the kernel's `LetterboxImage`."""

TARGET_DTYPE = np.dtype(
    [(name, np.int32) for name in ("width", "height", "interleaved", "rgb", "type")]
    + [(name, np.float32, (3,)) for name in ("gain", "offset", "padding")],
    align=True,
)
"""What the input wants, as the kernel's `LetterboxTarget`."""

BT601_LIMITED = (16, 1220542, 2116026, -409993, -852492, 1673527)
"""Offset of the luma, then 20-bit gains: those of OpenCV's `COLOR_YUV2BGR_NV12` (ITU-R BT.601, limited)."""

LUMA_WEIGHTS = {
    YuvMatrix.BT601: (0.299, 0.114),
    YuvMatrix.BT709: (0.2126, 0.0722),
    YuvMatrix.BT2020: (0.2627, 0.0593),
}
"""Kr and Kb: how much of the luma red and blue are (ITU-R BT.601, BT.709, BT.2020)."""

FORMATS = {PixelFormat.BGR: 0, PixelFormat.NV12: 1, PixelFormat.P016: 2}

OUTPUT_TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(np.uint8): 2}
BLOCK = (32, 8, 1)
REMEMBERED = 256
"""Most image sizes remembered: far more than there are, unless each frame brings new ones."""


@dataclass(frozen=True, slots=True)
class ImageInMemory:
    """An image where the GPU can read it.

    Attributes:
        width: In pixels.
        height: In pixels.
        pixel_format: How its bytes are laid out.
        colors: How to read them, unless they are BGR.
        address: Of its first byte.
        chroma_address: Of the first chroma sample; of no meaning for BGR.
        pitch_bytes: From row to row.
    """

    width: int
    height: int
    pixel_format: PixelFormat
    colors: YuvColors
    address: int
    chroma_address: int
    pitch_bytes: int

    @classmethod
    def without_gaps(
        cls, width: int, height: int, pixel_format: PixelFormat, colors: YuvColors, address: int
    ) -> ImageInMemory:
        """Return an image whose rows, and planes, lie one behind the other."""
        pitch_bytes = 3 * width if pixel_format is PixelFormat.BGR else width
        return cls(width, height, pixel_format, colors, address, address + width * height, pitch_bytes)


class LetterboxKernel:
    """Letterboxes batches into a model's input. Holds no memory on the device.

    Args:
        function: `letterbox` of the loaded module.
        spec: What the input wants.
        dtype: The input's type: float32, float16 or uint8.
    """

    def __init__(self, function: Any, spec: InputSpec, dtype: np.dtype[Any]) -> None:
        self._function = function
        self._spec = spec
        self._grid = (-(-spec.width // BLOCK[0]), -(-spec.height // BLOCK[1]))
        self._target = target_of(spec, dtype).tobytes()
        self._known: dict[tuple[int, int, PixelFormat, YuvColors, int], NDArray[Any]] = {}
        function.prepare(f"PP{TARGET_DTYPE.itemsize}s")

    def describe(self, images: NDArray[Any], place: int, image: ImageInMemory) -> None:
        """Describe one image of a batch.

        Args:
            images: (batch,) IMAGE_DTYPE, to be written.
            place: Which of them.
            image: What and where it is, as the GPU sees it.
        """
        key = (image.width, image.height, image.pixel_format, image.colors, image.pitch_bytes)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[key] = image_of(image, self._spec)
        images[place] = known
        images["source"][place] = image.address
        images["chroma"][place] = image.chroma_address

    def enqueue(self, stream: Stream, images_address: int, out_address: int, batch: int) -> None:
        """Enqueue the letterbox of a batch.

        Args:
            stream: Where.
            images_address: (batch,) IMAGE_DTYPE in device memory.
            out_address: The input, in device memory.
            batch: How many images.
        """
        with cuda_errors("the letterbox kernel cannot be launched"):
            self._function.prepared_async_call(
                (*self._grid, batch), BLOCK, stream.native, images_address, out_address, self._target
            )


def image_of(image: ImageInMemory, spec: InputSpec) -> NDArray[Any]:
    """Return the description of an image, () IMAGE_DTYPE."""
    box = Letterbox.fit((image.width, image.height), spec)
    described: NDArray[Any] = np.zeros((), IMAGE_DTYPE)
    fields = (
        *(image.address, image.chroma_address, image.width, image.height),
        *(image.pitch_bytes, image.pitch_bytes, FORMATS[image.pixel_format]),
        *(*box.offset_xy, *box.resized_wh, *yuv_coefficients(image.colors)),
    )
    for name, value in zip(IMAGE_DTYPE.names or (), fields, strict=True):
        described[name] = value
    return described


@lru_cache(maxsize=16)
def yuv_coefficients(colors: YuvColors) -> tuple[int, ...]:
    """Return what the kernel makes red, green and blue with: the luma's offset, then 20-bit gains.

    By the definition of Y'CbCr: R = Y + 2 (1 - Kr) V, B = Y + 2 (1 - Kb) U, and Y = Kr R + Kg G + Kb B.
    """
    if colors == BT601_LIMITED_RANGE:
        return BT601_LIMITED
    red, blue = LUMA_WEIGHTS[colors.matrix]
    green = 1 - red - blue
    offset, luma, chroma = (0, 1.0, 1.0) if colors.full_range else (16, 255 / 219, 255 / 224)
    to_red, to_blue = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
    gains = (luma, to_blue, -to_blue * blue / green, -to_red * red / green, to_red)
    return (offset, *(round(gain * (1 << 20)) for gain in gains))


def target_of(spec: InputSpec, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return what an input wants, () TARGET_DTYPE. Raises KeyError for a type that no input has."""
    target: NDArray[Any] = np.zeros((), TARGET_DTYPE)
    target["width"], target["height"] = spec.width, spec.height
    target["interleaved"] = spec.layout is Layout.NHWC
    target["rgb"] = spec.color is Color.RGB
    target["type"] = OUTPUT_TYPES[np.dtype(dtype)]
    mean, std = np.array(spec.mean), np.array(spec.std)
    target["gain"] = spec.scale / std
    target["offset"] = -mean / std
    target["padding"] = (spec.pad_value * spec.scale - mean) / std
    return target
