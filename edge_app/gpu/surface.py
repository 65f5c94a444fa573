"""One surface in host memory, for who wants to see a picture: the flow of the others goes on meanwhile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_app.gpu.context import open_gpu
from edge_app.gpu.driver import cuda_driver, cuda_errors
from edge_app.gpu.memory import PinnedBuffer, Stream
from edge_app.messages import PixelFormat, Surface


def download(surface: Surface, size: tuple[int, int], pixel_format: PixelFormat) -> NDArray[np.uint8]:
    """Copy a surface on a stream of its own.

    Args:
        surface: Lent, until this returns.
        size: (width, height) in pixels, both even.
        pixel_format: NV12 or P016.

    Returns:
        (height * 3 / 2, width) uint8, as NV12; of P016 the upper bytes.

    Raises:
        BackendError: CUDA fails.
    """
    width, height = size
    sample_bytes = 2 if pixel_format is PixelFormat.P016 else 1
    gpu = open_gpu(surface.device)
    with gpu.attach(), cuda_errors("a picture cannot be copied from the GPU"):
        stream = Stream()
        buffer = PinnedBuffer(width * height * 3 // 2 * sample_bytes)
        try:
            rows = buffer.view((height * 3 // 2, width * sample_bytes), np.dtype(np.uint8))
            for address, part in ((surface.address, rows[:height]), (surface.chroma_address, rows[height:])):
                copy = cuda_driver().Memcpy2D()
                copy.set_src_device(address)
                copy.set_dst_host(part)
                copy.width_in_bytes = copy.dst_pitch = width * sample_bytes
                copy.src_pitch, copy.height = surface.pitch_bytes, len(part)
                copy(stream.native)
            stream.synchronize()
            picture: NDArray[np.uint8] = rows[:, sample_bytes - 1 :: sample_bytes].copy()
            return picture
        finally:
            buffer.close()
            stream.close()


def download_rows(
    surface: Surface, size: tuple[int, int], pixel_format: PixelFormat, step: int
) -> NDArray[np.uint8 | np.uint16]:
    """Copy every `step`-th row of a surface's luma on a stream of its own.

    Into ordinary memory: to allocate page-locked memory for each picture may make the GPU wait.

    Args:
        surface: Lent, until this returns.
        size: (width, height) in pixels.
        pixel_format: NV12 or P016.
        step: From row to row.

    Returns:
        (ceil(height / step), width) uint8, or uint16 of P016.

    Raises:
        BackendError: CUDA fails.
    """
    width, height = size
    rows: NDArray[np.uint8 | np.uint16] = np.empty(
        (-(-height // step), width), np.uint16 if pixel_format is PixelFormat.P016 else np.uint8
    )
    gpu = open_gpu(surface.device)
    with gpu.attach(), cuda_errors("a picture cannot be copied from the GPU"):
        stream = Stream()
        try:
            copy = cuda_driver().Memcpy2D()
            copy.set_src_device(surface.address)
            copy.set_dst_host(rows)
            copy.width_in_bytes = copy.dst_pitch = rows.strides[0]
            copy.src_pitch, copy.height = surface.pitch_bytes * step, len(rows)
            copy(stream.native)
            stream.synchronize()
        finally:
            stream.close()
    return rows
