"""What one batch in flight needs: a stream, events, memory on both sides, and an execution context."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_app.errors import BackendError
from edge_app.gpu.driver import cuda_errors
from edge_app.gpu.memory import DeviceBuffer, Event, PinnedBuffer, Stream
from edge_app.gpu.output_allocator import GrowingOutput, native_allocator
from edge_app.gpu.resource import Resource
from edge_app.gpu.tensorrt_api import quote, tensorrt_log
from edge_app.interfaces import Tensor, TensorSpec

Shape = tuple[int, ...]

FIRST_PAUSE_S = 50e-6
LONGEST_PAUSE_S = 1e-3
SETTLE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class _BatchViews:
    """The parts of the page-locked buffers that a batch of one size uses."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


class ExecutionSlot(Resource):
    """Runs one batch at a time. The engine makes, prepares and closes it.

    The calls of one batch are `inputs`, `enqueue`, `wait`, by threads that are attached to the GPU, one
    after the other.
    """

    kind = "execution slot"

    def __init__(self, context: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        self._context = context
        self._inputs = inputs
        self._outputs = outputs
        self._host: dict[str, PinnedBuffer] = {}
        self._device: dict[str, DeviceBuffer] = {}
        self._growing: dict[str, GrowingOutput] = {}
        self._allocators: list[Any] = []
        self._views: dict[int, _BatchViews] = {}
        self._batch = 0
        self._enqueued: Mapping[str, Tensor] | None = None
        self._busy = False
        self._stream: Stream | None = None
        self._events: tuple[Event, Event] | None = None
        super().__init__()

    @property
    def capturable(self) -> bool:
        """Whether no output's shape depends on the data, so that a CUDA graph could hold a batch."""
        return not self._growing

    def prepare(self, number: int, profile: int, max_batch: int) -> None:
        """Choose the profile, and get memory for `max_batch` images.

        Args:
            number: Which slot of its engine this is, from 1.
            profile: Index of the optimization profile.
            max_batch: Largest batch that will be run.
        """
        self._stream = stream = Stream()
        self._events = (Event(), Event())
        self._choose_profile(number, profile, stream)
        self._set_batch(max_batch)
        for spec in self._inputs:
            self._add_buffers(spec, shape_of(spec, max_batch))
        for spec in self._outputs:
            shape = tuple(self._context.get_tensor_shape(spec.name))
            if -1 in shape:
                self._add_growing(spec)
            else:
                self._add_buffers(spec, shape)

    def inputs(self, batch: int) -> Mapping[str, Tensor]:
        """Return the page-locked arrays to write a batch of this size into.

        Waits, should the GPU still use them after a batch that failed.
        """
        if self._busy:
            self.settle(SETTLE_TIMEOUT_S)
        if batch not in self._views:
            self._views[batch] = self._view_batch(batch)
        return self._views[batch].inputs

    def enqueue(self, batch: int) -> None:
        """Enqueue copy-in, the engine and copy-out of the batch that lies in `inputs(batch)`.

        Raises:
            BackendError: TensorRT or CUDA refused.
        """
        if self._stream is None or self._events is None:
            raise BackendError("the engine was closed")
        stream, (started, done) = self._stream, self._events
        views = self._views[batch]
        self._set_batch(batch)
        with cuda_errors(f"a batch of {batch} cannot be enqueued"):
            self._busy = True
            started.record(stream)
            for name, host in views.inputs.items():
                self._device[name].copy_from(host, stream)
            self._execute(stream, batch)
            for name, host in views.outputs.items():
                self._device[name].copy_to(host, stream)
            outputs = {**views.outputs, **self._copy_grown(stream)} if self._growing else views.outputs
            done.record(stream)
        self._enqueued = outputs

    def wait(self, timeout_s: float) -> tuple[Mapping[str, Tensor], float]:
        """Wait for the batch and return its outputs and the GPU's time for it in milliseconds.

        The outputs are page-locked memory of the slot, to be read before the slot is used again. The time
        is from the start of the copy-in to the end of the copy-out.

        Raises:
            BackendError: It failed, or was not done within `timeout_s` seconds.
        """
        if self._events is None or self._enqueued is None:
            raise BackendError("there is no batch in flight: the engine was closed or had failed")
        started, done = self._events
        deadline = time.monotonic() + timeout_s
        pause_s = FIRST_PAUSE_S
        while not done.passed():
            if time.monotonic() > deadline:
                raise BackendError(f"the GPU did not finish a batch within {timeout_s:.3g} s")
            # Sleeping, as a wait in CUDA has no timeout; by a quarter longer each time.
            time.sleep(pause_s)
            pause_s = min(1.25 * pause_s, LONGEST_PAUSE_S)
        outputs, self._enqueued = self._enqueued, None
        self._busy = False
        return outputs, done.ms_since(started)

    def settle(self, timeout_s: float) -> None:
        """Wait until the GPU no longer uses the slot's memory. Raises BackendError like `wait`."""
        deadline = time.monotonic() + timeout_s
        while self._stream is not None and not self._stream.idle():
            if time.monotonic() > deadline:
                raise BackendError(f"the GPU still uses a slot after {timeout_s:.3g} s")
            time.sleep(LONGEST_PAUSE_S)
        self._enqueued = None
        self._busy = False

    def drop_context(self) -> None:
        """Destroy the execution context: before its engine, which comes before the memory."""
        self._context = None
        self._allocators.clear()

    def _free(self) -> None:
        self.drop_context()
        self._views.clear()
        self._enqueued = None
        for output in self._growing.values():
            output.buffer.close()
        for buffer in (*self._device.values(), *self._host.values()):
            buffer.close()
        for event in self._events or ():
            event.close()
        if self._stream is not None:
            self._stream.close()
        self._events = self._stream = None

    def _choose_profile(self, number: int, profile: int, stream: Stream) -> None:
        # The first context has the profile by itself, and an engine of fixed shapes needs none. TensorRT is
        # not asked which one is active: 8.6 dies of that question where a profile is not shared.
        if number == 1 or not any(None in spec.shape for spec in self._inputs):
            return
        with tensorrt_log.listening() as words:
            chosen = self._context.set_optimization_profile_async(profile, stream.handle)
        if not chosen:
            raise BackendError(
                f"the engine does not let slot {number} share its optimization profile: {quote(words)}",
                hint="Build it again with profile sharing: edge-app build; or set inference.slots to 1.",
            )
        stream.synchronize()

    def _set_batch(self, batch: int) -> None:
        if batch == self._batch:
            return
        for spec in self._inputs:
            if None in spec.shape:
                shape = shape_of(spec, batch)
                with tensorrt_log.listening() as words:
                    accepted = self._context.set_input_shape(spec.name, shape)
                if not accepted:
                    self._batch = 0
                    raise BackendError(f"TensorRT refused the shape {shape} of {spec.name!r}: {quote(words)}")
        self._batch = batch

    def _add_buffers(self, spec: TensorSpec, shape: Shape) -> None:
        size_bytes = spec.dtype.itemsize
        for axis in shape:
            size_bytes *= axis
        self._host[spec.name] = PinnedBuffer(size_bytes)
        self._device[spec.name] = DeviceBuffer(size_bytes)
        self._set_address(spec.name, self._device[spec.name].address)

    def _add_growing(self, spec: TensorSpec) -> None:
        output = self._growing[spec.name] = GrowingOutput()
        allocator = native_allocator(output)
        self._allocators.append(allocator)
        with tensorrt_log.listening() as words:
            accepted = self._context.set_output_allocator(spec.name, allocator)
        if not accepted:
            raise BackendError(f"TensorRT refused an allocator for {spec.name!r}: {quote(words)}")
        self._host[spec.name] = PinnedBuffer(output.buffer.size_bytes)

    def _set_address(self, name: str, address: int) -> None:
        with tensorrt_log.listening() as words:
            accepted = self._context.set_tensor_address(name, address)
        if not accepted:
            raise BackendError(f"TensorRT refused the memory for {name!r}: {quote(words)}")

    def _view_batch(self, batch: int) -> _BatchViews:
        self._set_batch(batch)
        inputs = {spec.name: self._view(spec, shape_of(spec, batch)) for spec in self._inputs}
        outputs = {
            spec.name: self._view(spec, tuple(self._context.get_tensor_shape(spec.name)))
            for spec in self._outputs
            if spec.name not in self._growing
        }
        return _BatchViews(inputs, outputs)

    def _view(self, spec: TensorSpec, shape: Shape) -> Tensor:
        return self._host[spec.name].view(shape, spec.dtype)

    def _execute(self, stream: Stream, batch: int) -> None:
        for output in self._growing.values():
            output.shape = output.error = None
        with tensorrt_log.listening() as words:
            accepted = self._context.execute_async_v3(stream.handle)
        for name, output in self._growing.items():
            if output.error is not None:
                raise BackendError(f"no memory for output {name!r}: {output.error}") from output.error
            if accepted and output.shape is None:
                raise BackendError(f"TensorRT did not tell the shape of output {name!r}")
        if not accepted:
            raise BackendError(f"TensorRT failed to run a batch of {batch}: {quote(words)}")

    def _copy_grown(self, stream: Stream) -> dict[str, Tensor]:
        copied = {}
        for spec in self._outputs:
            output = self._growing.get(spec.name)
            if output is None or output.shape is None:
                continue
            if self._host[spec.name].size_bytes < output.buffer.size_bytes:
                self._host[spec.name].close()
                self._host[spec.name] = PinnedBuffer(output.buffer.size_bytes)
            host = copied[spec.name] = self._view(spec, output.shape)
            output.buffer.copy_to(host, stream)
        return copied


def shape_of(spec: TensorSpec, batch: int) -> Shape:
    """Return the shape of a tensor whose open axis is the batch."""
    return tuple(batch if axis is None else axis for axis in spec.shape)
