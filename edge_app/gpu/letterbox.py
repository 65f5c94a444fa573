"""The letterbox on the GPU: the host's side of `kernels/letterbox.cu`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.geometry import Color, InputSpec, Layout, Letterbox
from edge_app.gpu.driver import cuda_errors
from edge_app.gpu.memory import Stream
from edge_app.messages import PixelFormat

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

OUTPUT_TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(np.uint8): 2}
BLOCK = (32, 8, 1)
REMEMBERED = 256
"""Most image sizes remembered: far more than there are, unless each frame brings new ones."""


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
        self._known: dict[tuple[int, int, PixelFormat], NDArray[Any]] = {}
        function.prepare(f"PP{TARGET_DTYPE.itemsize}s")

    def describe(
        self,
        images: NDArray[Any],
        place: int,
        width: int,
        height: int,
        pixel_format: PixelFormat,
        address: int,
    ) -> None:
        """Describe one image of a batch.

        Args:
            images: (batch,) IMAGE_DTYPE, to be written.
            place: Which of them.
            width: Of the image in pixels.
            height: Of the image in pixels.
            pixel_format: How its bytes are laid out, without gaps between rows.
            address: Where they are, as the GPU sees it.
        """
        key = (width, height, pixel_format)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[key] = image_of(width, height, pixel_format, self._spec)
        images[place] = known
        images["source"][place] = address
        images["chroma"][place] = address + width * height

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


def image_of(width: int, height: int, pixel_format: PixelFormat, spec: InputSpec) -> NDArray[Any]:
    """Return the description of an image, () IMAGE_DTYPE, without its addresses."""
    box = Letterbox.fit((width, height), spec)
    nv12 = pixel_format is PixelFormat.NV12
    image: NDArray[Any] = np.zeros((), IMAGE_DTYPE)
    pitch = width if nv12 else 3 * width
    fields = (width, height, pitch, width, int(nv12), *box.offset_xy, *box.resized_wh, *BT601_LIMITED)
    for name, value in zip(IMAGE_DTYPE.names[2:] if IMAGE_DTYPE.names else (), fields, strict=True):
        image[name] = value
    return image


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
