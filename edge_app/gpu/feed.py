"""Frames on their way into one slot: copied to the device as they are, and letterboxed there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_app.errors import BackendError
from edge_app.gpu.enqueue import CopyIn
from edge_app.gpu.letterbox import IMAGE_DTYPE, ImageInMemory, LetterboxKernel
from edge_app.gpu.memory import DeviceBuffer, PinnedBuffer, Stream
from edge_app.gpu.resource import Resource
from edge_app.interfaces import Tensor
from edge_app.messages import Frame, PixelFormat, Surface


class FrameFeed(Resource):
    """Brings a batch of frames into the model's input. Used by one thread at a time, attached to the GPU.

    Args:
        kernel: The letterbox.
        max_batch: Most frames of a batch.
        integrated: Whether the GPU reads page-locked memory as fast as its own, as on a Jetson; such frames
            are then not copied at all.
        device: Number of the GPU, whose own surfaces are read where they are.
    """

    kind = "frame feed"

    def __init__(self, kernel: LetterboxKernel, max_batch: int, *, integrated: bool, device: int = 0) -> None:
        self._kernel = kernel
        self._gpu = device
        self._integrated = integrated
        self._max_batch = max_batch
        self._pinned: list[PinnedBuffer | None] = [None] * max_batch
        self._device: list[DeviceBuffer | None] = [None] * max_batch
        self._host_images = PinnedBuffer(max_batch * IMAGE_DTYPE.itemsize)
        self._device_images = DeviceBuffer(max_batch * IMAGE_DTYPE.itemsize)
        self._images = self._host_images.view((max_batch,), IMAGE_DTYPE)
        self._shown: list[ImageInMemory | None] = [None] * max_batch
        """What each place of `_images` describes."""
        self._copy_in = CopyIn()
        self._bytes = self._host_images.view((max_batch * IMAGE_DTYPE.itemsize,), np.dtype(np.uint8))
        super().__init__()

    def load(self, frames: Sequence[Frame], stream: Stream) -> None:
        """Enqueue the copies of the frames, and describe them to the kernel.

        Surfaces and page-locked frames are read until the batch is done; others are copied before this
        returns.

        Raises:
            ValueError: The pixels are not what the frame says.
            BackendError: There is no memory.
        """
        for place, frame in enumerate(frames):
            image = self._image(place, frame, stream)
            if self._shown[place] != image:
                self._kernel.describe(self._images, place, image)
                self._shown[place] = image
        for place in range(len(frames), self._max_batch):
            if self._shown[place] is not None:
                self._images["source"][place] = 0
                self._shown[place] = None

    def enqueue(self, stream: Stream, out_address: int, batch: int) -> None:
        """Enqueue the letterbox of a batch into the model's input; nothing else, so a graph can hold it."""
        self._device_images.copy_from(self._bytes, stream)
        self._kernel.enqueue(stream, self._device_images.address, out_address, batch)

    def _image(self, place: int, frame: Frame, stream: Stream) -> ImageInMemory:
        """Return where the GPU reads the frame, after bringing it there if it is not."""
        width, height, pixels = frame.info.width, frame.info.height, frame.pixels
        if isinstance(pixels, Surface):
            _check_surface(frame, pixels, self._gpu)
            return ImageInMemory(
                *(width, height, frame.pixel_format, frame.colors),
                *(pixels.address, pixels.chroma_address, pixels.pitch_bytes),
            )
        _check_array(frame, pixels)
        address = self._bring(place, pixels, stream, pinned=frame.pinned)
        return ImageInMemory.without_gaps(width, height, frame.pixel_format, frame.colors, address)

    def _bring(self, place: int, pixels: Tensor, stream: Stream, *, pinned: bool) -> int:
        """Bring the pixels to where the GPU reads them; return that address."""
        if not pinned:
            pixels = self._staged(place, pixels)
        host_address: int = pixels.__array_interface__["data"][0]
        if self._integrated:
            return host_address
        size_bytes = pixels.nbytes
        device = self._device[place]
        if device is None or device.size_bytes < size_bytes:
            if device is not None:
                device.close()
            self._device[place] = None
            device = self._device[place] = DeviceBuffer(size_bytes)
        self._copy_in(device.address, host_address, size_bytes, stream.handle)
        return device.address

    def _staged(self, place: int, pixels: Tensor) -> Tensor:
        """Return a copy in page-locked memory, from which the GPU copies by itself."""
        buffer = self._pinned[place]
        if buffer is None or buffer.size_bytes < pixels.nbytes:
            if buffer is not None:
                buffer.close()
            self._pinned[place] = None
            buffer = self._pinned[place] = PinnedBuffer(pixels.nbytes)
        copy = buffer.view(pixels.shape, pixels.dtype)
        np.copyto(copy, pixels)
        return copy

    def _free(self) -> None:
        self._images = self._bytes = np.empty(0, np.uint8)
        buffers: list[Any] = [*self._pinned, *self._device, self._host_images, self._device_images]
        for buffer in buffers:
            if buffer is not None:
                buffer.close()


def _check_surface(frame: Frame, surface: Surface, device: int) -> None:
    """Raise ValueError unless this GPU can read the surface: the kernel would read beyond it."""
    width, height = frame.info.width, frame.info.height
    if frame.pixel_format is PixelFormat.BGR:
        raise ValueError("a surface holds NV12 or P016, not BGR")
    if width % 2 or height % 2:
        raise ValueError(f"a surface needs an even width and height, found {width}x{height}")
    row_bytes = width * (2 if frame.pixel_format is PixelFormat.P016 else 1)
    if surface.pitch_bytes < row_bytes:
        raise ValueError(f"rows of {row_bytes} bytes do not fit into a pitch of {surface.pitch_bytes}")
    if surface.device != device:
        raise ValueError(f"the surface is on GPU {surface.device}, the model on GPU {device}")


def _check_array(frame: Frame, pixels: Tensor) -> None:
    """Raise ValueError unless the pixels are what the frame says: the kernel would read beyond them."""
    width, height = frame.info.width, frame.info.height
    if frame.pixel_format is PixelFormat.NV12:
        shape: tuple[int, ...] = (height * 3 // 2, width)
        if width % 2 or height % 2:
            raise ValueError(f"NV12 needs an even width and height, found {width}x{height}")
    elif frame.pixel_format is PixelFormat.BGR:
        shape = (height, width, 3)
    else:
        raise BackendError(
            f"cannot read pixel format {frame.pixel_format!r}, only BGR and NV12 in host memory"
        )
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise ValueError(
            f"a {width}x{height} {frame.pixel_format.value} frame must be uint8 {shape}, "
            f"found {pixels.dtype} {pixels.shape}"
        )
    if not pixels.flags.c_contiguous:
        raise ValueError("the pixels of a frame must be contiguous")
