"""Streams, events and memory with owners. All of it needs a thread that is attached to the GPU."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.gpu.context import Gpu
from edge_app.gpu.driver import cuda_driver, cuda_errors
from edge_app.gpu.resource import Resource

STREAM_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: the stream does not wait for the default stream."""


class Stream(Resource):
    """A stream of its own, never the default one."""

    kind = "stream"

    def __init__(self) -> None:
        with cuda_errors("a CUDA stream cannot be made"):
            self.native = cuda_driver().Stream(STREAM_NON_BLOCKING)
        self.handle = int(self.native.handle)
        super().__init__()

    def synchronize(self) -> None:
        """Wait until everything enqueued so far is done."""
        with cuda_errors("the GPU failed"):
            self.native.synchronize()

    def idle(self) -> bool:
        """Return whether everything enqueued so far is done. Raises BackendError if it failed."""
        with cuda_errors("the GPU failed"):
            return bool(self.native.is_done())

    def _free(self) -> None:
        self.native = None


class Event(Resource):
    """A point in a stream, with the time at which the GPU passed it."""

    kind = "event"

    def __init__(self) -> None:
        with cuda_errors("a CUDA event cannot be made"):
            self._native = cuda_driver().Event()
        super().__init__()

    def record(self, stream: Stream) -> None:
        """Mark the end of what is enqueued in `stream`."""
        with cuda_errors("a CUDA event cannot be recorded"):
            self._native.record(stream.native)

    def passed(self) -> bool:
        """Return whether the GPU got here. Raises BackendError if what came before failed."""
        with cuda_errors("the GPU failed"):
            return bool(self._native.query())

    def ms_since(self, earlier: Event) -> float:
        """Return the GPU's time from `earlier` to here in milliseconds; both have passed."""
        with cuda_errors("the time between two CUDA events cannot be read"):
            return float(self._native.time_since(earlier._native))

    def _free(self) -> None:
        self._native = None


class DeviceBuffer(Resource):
    """`size_bytes` of device memory at `address`, aligned to 256 bytes."""

    kind = "device buffer"

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = max(1, size_bytes)
        with cuda_errors(f"{self.size_bytes} bytes of device memory cannot be had"):
            self._allocation = cuda_driver().mem_alloc(self.size_bytes)
        self.address = int(self._allocation)
        super().__init__()

    def copy_from(self, host: NDArray[Any], stream: Stream) -> None:
        """Enqueue a copy of contiguous page-locked memory into the front of this buffer."""
        if host.nbytes:
            cuda_driver().memcpy_htod_async(self.address, host, stream.native)

    def copy_to(self, host: NDArray[Any], stream: Stream) -> None:
        """Enqueue a copy of the front of this buffer into contiguous page-locked memory."""
        if host.nbytes:
            cuda_driver().memcpy_dtoh_async(host, self.address, stream.native)

    def _free(self) -> None:
        with cuda_errors("device memory cannot be freed"):
            self._allocation.free()
        self.address = 0


class PinnedBuffer(Resource):
    """`size_bytes` of page-locked host memory, zeroed; a view of it must not outlive it."""

    kind = "pinned buffer"

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = max(1, size_bytes)
        with cuda_errors(f"{self.size_bytes} bytes of page-locked memory cannot be had"):
            self._bytes: NDArray[np.uint8] = cuda_driver().pagelocked_empty(self.size_bytes, np.uint8)
        self._bytes[:] = 0
        super().__init__()

    def view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the front of the buffer as an array; it is not a copy."""
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if size > self.size_bytes:
            raise ValueError(f"{size} bytes do not fit into a buffer of {self.size_bytes}")
        return self._bytes[:size].view(dtype).reshape(shape)

    def _free(self) -> None:
        # The array's base is the allocation; freeing it does not wait for the garbage collector.
        allocation: Any = self._bytes.base
        self._bytes = np.empty(0, np.uint8)
        with cuda_errors("page-locked memory cannot be freed"):
            allocation.free()


class PinnedPixels:
    """Page-locked memory of one frame, which lives as long as an array of it.

    It is freed by whatever thread drops the last array; PyCUDA's own arrays can only be freed by threads that
    are attached to the GPU, and leak otherwise.

    Args:
        gpu: Whose context it belongs to.
        shape: Of the frame.
    """

    def __init__(self, gpu: Gpu, shape: tuple[int, ...]) -> None:
        self._gpu = gpu
        size_bytes = int(np.prod(shape, dtype=np.int64))
        with gpu.attach():
            self._buffer = PinnedBuffer(size_bytes)
        view = self._buffer.view(shape, np.dtype(np.uint8))
        self.__array_interface__ = dict(view.__array_interface__)

    def array(self) -> NDArray[np.uint8]:
        """Return the memory as an array, (shape) uint8."""
        return np.asarray(self)

    def __del__(self) -> None:
        buffer = getattr(self, "_buffer", None)
        if buffer is not None:
            # At the interpreter's end CUDA may be gone already, and the memory with it.
            with suppress(Exception), self._gpu.attach():
                buffer.close()
