"""Memory for outputs whose shape is known only when the model has run."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from edge_app.gpu.memory import DeviceBuffer
from edge_app.gpu.tensorrt_api import load_tensorrt

FIRST_BYTES = 64 * 1024


class GrowingOutput:
    """The device memory of one output; it grows by doubling and never shrinks.

    Attributes:
        shape: Of the output of the last run, once TensorRT has told it.
        error: Why memory could not be had; TensorRT itself can only be told that there is none.
    """

    def __init__(self) -> None:
        self.buffer = DeviceBuffer(FIRST_BYTES)
        self.shape: tuple[int, ...] | None = None
        self.error: Exception | None = None

    def reserve(self, size_bytes: int) -> int:
        """Return the address of at least `size_bytes`, or 0 and leave the reason in `error`."""
        if size_bytes > self.buffer.size_bytes:
            capacity = self.buffer.size_bytes
            while capacity < size_bytes:
                capacity *= 2
            try:
                grown = DeviceBuffer(capacity)
                self.buffer.close()
            except Exception as error:  # noqa: BLE001 - nothing may pass through TensorRT's own frames
                self.error = error
                return 0
            self.buffer = grown
        return self.buffer.address


def native_allocator(output: GrowingOutput) -> Any:
    """Return an `IOutputAllocator` for `output`; it must live as long as the execution context."""
    return _allocator_class()(output)


@lru_cache(maxsize=1)
def _allocator_class() -> Any:
    tensorrt = load_tensorrt()

    class OutputAllocator(tensorrt.IOutputAllocator):  # type: ignore[misc, name-defined]
        """Called by TensorRT, from inside `execute_async_v3`."""

        def __init__(self, output: GrowingOutput) -> None:
            tensorrt.IOutputAllocator.__init__(self)
            self._output = output

        def reallocate_output(self, _name: str, _memory: int, size: int, _alignment: int) -> int:
            return self._output.reserve(size)

        def reallocate_output_async(
            self, _name: str, _memory: int, size: int, _alignment: int, _stream: int
        ) -> int:
            return self._output.reserve(size)

        def notify_shape(self, _name: str, shape: Any) -> None:
            self._output.shape = tuple(shape)

    return OutputAllocator
