"""Calls of the CUDA driver that only enqueue, made without giving up the interpreter's lock.

They return within microseconds. PyCUDA and `cuda.bindings` let other threads go on meanwhile, and to get the
lock back then takes as long as those like: with a copy for each frame of a batch that was most of what the
feeder did.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

from edge_app.errors import BackendError
from edge_app.gpu.driver import CUDA_SUCCESS, LIBRARY


@lru_cache(maxsize=1)
def _driver() -> ctypes.PyDLL:
    """Return the driver's library; a PyDLL keeps the lock."""
    try:
        library = ctypes.PyDLL(LIBRARY)
    except OSError as error:
        raise BackendError(f"the NVIDIA driver cannot be loaded: {error}") from None
    handle, address, size = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t
    library.cuMemcpyHtoDAsync_v2.argtypes = (address, handle, size, handle)
    library.cuGraphLaunch.argtypes = (handle, handle)
    library.cuStreamQuery.argtypes = (handle,)
    library.cuGetErrorName.argtypes = (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p))
    return library


class CopyIn:
    """Enqueues copies of page-locked memory to the device. The thread is attached to the GPU."""

    __slots__ = ("_call",)

    def __init__(self) -> None:
        self._call: Any = _driver().cuMemcpyHtoDAsync_v2

    def __call__(self, device_address: int, host_address: int, size_bytes: int, stream_handle: int) -> None:
        """Enqueue one copy. Raises BackendError."""
        status = self._call(device_address, host_address, size_bytes, stream_handle)
        if status != CUDA_SUCCESS:
            raise BackendError(f"a copy of {size_bytes} bytes to the GPU cannot be enqueued: {_name(status)}")


class LaunchGraph:
    """Enqueues instantiated graphs. The thread is attached to the GPU."""

    __slots__ = ("_call",)

    def __init__(self) -> None:
        self._call: Any = _driver().cuGraphLaunch

    def __call__(self, executable_handle: int, stream_handle: int) -> None:
        """Enqueue one graph. Raises BackendError."""
        status = self._call(executable_handle, stream_handle)
        if status != CUDA_SUCCESS:
            raise BackendError(f"a CUDA graph cannot be launched: {_name(status)}")


class StreamQuery:
    """Tells whether a stream is idle. The thread is attached to the GPU, or the stream is of its context."""

    __slots__ = ("_call",)

    def __init__(self) -> None:
        self._call: Any = _driver().cuStreamQuery

    def __call__(self, stream_handle: int) -> bool:
        """Return whether everything enqueued so far is done; False too where that cannot be told."""
        done: bool = self._call(stream_handle) == CUDA_SUCCESS
        return done


def _name(status: int) -> str:
    name = ctypes.c_char_p()
    _driver().cuGetErrorName(status, ctypes.byref(name))
    return f"CUDA error {status}" if name.value is None else name.value.decode()
