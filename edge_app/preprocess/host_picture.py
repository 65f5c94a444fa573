"""A frame as a picture in host memory that anybody can look at, wherever its pixels are."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.gpu.letterbox import yuv_coefficients
from edge_app.gpu.surface import download
from edge_app.messages import BT601_LIMITED_RANGE, PixelFormat, Pixels, Surface, YuvColors

Image = NDArray[np.uint8]


def host_picture(
    pixels: Pixels,
    size: tuple[int, int],
    pixel_format: PixelFormat = PixelFormat.BGR,
    colors: YuvColors = BT601_LIMITED_RANGE,
) -> Image:
    """Copy a picture into host memory, without disturbing what else is done with it.

    Args:
        pixels: The caller holds their lease until this returns.
        size: (width, height) in pixels.
        pixel_format: How they are laid out.
        colors: How to read them, unless they are BGR.

    Returns:
        (height, width, 3) uint8 BGR.

    Raises:
        BackendError: It cannot be copied from the GPU.
    """
    if isinstance(pixels, Surface):
        pixels = download(pixels, size, pixel_format)
    elif pixel_format is PixelFormat.BGR:
        copy: Image = pixels.copy()
        return copy
    if colors == BT601_LIMITED_RANGE:
        return cast("Image", cv2.cvtColor(pixels, cv2.COLOR_YUV2BGR_NV12))
    return nv12_to_bgr(pixels, colors)


def nv12_to_bgr(pixels: Image, colors: YuvColors) -> Image:
    """Convert (height * 3 / 2, width) uint8 NV12 of any colours; each chroma sample serves four pixels.

    The arithmetic is the letterbox kernel's. OpenCV knows BT.601 with limited range alone.
    """
    height = len(pixels) * 2 // 3
    offset, luma, u_to_blue, u_to_green, v_to_green, v_to_red = yuv_coefficients(colors)
    level = np.maximum(pixels[:height].astype(np.int64) - offset, 0) * luma + (1 << 19)
    chroma = pixels[height:].astype(np.int64).reshape(height // 2, -1, 2) - 128
    u, v = (plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (chroma[..., 0], chroma[..., 1]))
    channels: list[NDArray[Any]] = [
        level + u_to_blue * u,
        level + u_to_green * u + v_to_green * v,
        level + v_to_red * v,
    ]
    picture: Image = np.clip(np.stack(channels, axis=-1) >> 20, 0, 255).astype(np.uint8)
    return picture
