"""What one batch in flight needs: a stream, events, memory on both sides, execution contexts and graphs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from edge_app.errors import BackendError
from edge_app.gpu.driver import cuda_errors
from edge_app.gpu.graph import Graph
from edge_app.gpu.memory import DeviceBuffer, Event, PinnedBuffer, Stream
from edge_app.gpu.naps import sleep_precisely
from edge_app.gpu.output_allocator import GrowingOutput, native_allocator
from edge_app.gpu.resource import Resource
from edge_app.gpu.tensorrt_api import quote, tensorrt_log
from edge_app.interfaces import GridDecode, Tensor, TensorSpec
from edge_app.messages import Candidates, Frame

Shape = tuple[int, ...]

SHORTEST_PAUSE_S = 20e-6
LONGEST_PAUSE_S = 1e-3
LONGEST_FIRST_PAUSE_S = 0.02
SETTLE_TIMEOUT_S = 1.0
SMOOTHING = 0.1


@dataclass(frozen=True, slots=True)
class _BatchViews:
    """The parts of the page-locked buffers that a batch of one size uses."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


class ContextMaker(Protocol):
    """Who makes the execution contexts of a slot; all of them use the slot's activation memory."""

    @property
    def activation_bytes(self) -> int:
        """How much activation memory a context needs."""

    def make(self, activation_address: int, stream: Stream) -> Any:
        """Return a new context with the profile chosen. Raises BackendError."""


class Feed(Protocol):
    """Brings frames into the model's input on the device."""

    def load(self, frames: Sequence[Frame], stream: Stream) -> None:
        """Enqueue the copies of a batch's frames: they differ every time, so no graph holds them."""

    def enqueue(self, stream: Stream, out_address: int, batch: int) -> None:
        """Enqueue what makes the model's input of them."""

    def close(self) -> None:
        """Free its memory."""


class Decoder(Protocol):
    """Turns an output of the model into candidates on the device."""

    def enqueue(self, stream: Stream, output_address: int, batch: int) -> None:
        """Enqueue the decoding of a batch."""

    def retune(self, stream: Stream, request: GridDecode, iou_threshold: float | None) -> None:
        """Use other thresholds for what is enqueued on the stream from now on."""

    def candidates(self, batch: int) -> list[Candidates]:
        """Return what was found, once the batch is done."""

    def close(self) -> None:
        """Free its memory."""


class ExecutionSlot(Resource):
    """Runs one batch at a time. The engine makes, prepares and closes it.

    The calls of one batch are `inputs`, `enqueue`, `wait`, by threads that are attached to the GPU, one
    after the other. With a feed it is `enqueue` with frames, then `wait`.

    Args:
        contexts: Makes its execution contexts.
        inputs: The engine's inputs.
        outputs: The engine's outputs.

    Attributes:
        decoder: Decodes on the device, where `decode_with` was called.
    """

    kind = "execution slot"

    def __init__(
        self, contexts: ContextMaker, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> None:
        self._contexts = contexts
        self._context: Any = None
        self._inputs = inputs
        self._outputs = outputs
        self._host: dict[str, PinnedBuffer] = {}
        self._device: dict[str, DeviceBuffer] = {}
        self._growing: dict[str, GrowingOutput] = {}
        self._allocators: list[Any] = []
        self._views: dict[int, _BatchViews] = {}
        self._graphs: dict[int, Graph] = {}
        self._graph_contexts: list[Any] = []
        self._activation: DeviceBuffer | None = None
        self._feed: Feed | None = None
        self._decoded = ""
        self.decoder: Decoder | None = None
        self._batch = 0
        self._enqueued: Mapping[str, Tensor] | None = None
        self._busy = False
        self._enqueued_s = 0.0
        self._usual_s = 0.0
        self._stream: Stream | None = None
        self._events: tuple[Event, Event] | None = None
        super().__init__()

    @property
    def capturable(self) -> bool:
        """Whether no output's shape depends on the data, so that a CUDA graph could hold a batch."""
        return not self._growing

    def prepare(self, max_batch: int) -> None:
        """Get a context, and memory for `max_batch` images."""
        self._stream = stream = Stream()
        self._events = (Event(), Event())
        self._activation = DeviceBuffer(self._contexts.activation_bytes)
        self._context = self._contexts.make(self._activation.address, stream)
        self._set_batch(max_batch)
        for spec in self._inputs:
            self._add_buffers(spec, shape_of(spec, max_batch))
        for spec in self._outputs:
            shape = tuple(self._context.get_tensor_shape(spec.name))
            if -1 in shape:
                self._add_growing(spec)
            else:
                self._add_buffers(spec, shape)

    def feed_with(self, feed: Feed) -> None:
        """Let frames come in through `feed`, which the slot then owns."""
        self._feed = feed

    def decode_with(self, decoder: Decoder, output: str) -> None:
        """Decode `output` on the device, and copy no output any more. The slot then owns the decoder."""
        self.decoder, self._decoded = decoder, output

    def capture(self, sizes: Iterable[int]) -> None:
        """Record a CUDA graph for each of these batch sizes, with an execution context of its own.

        A graph holds what a batch needs from the letterbox on, or where nothing feeds the slot from the
        engine on, to the results in page-locked memory.

        Raises:
            BackendError: It cannot be recorded. The slot still runs without graphs.
        """
        if self._stream is None or self._activation is None:
            raise BackendError("the engine was closed")
        if not self.capturable:
            raise BackendError("the shape of an output depends on the data")
        stream = self._stream
        for batch in sizes:
            context = self._contexts.make(self._activation.address, stream)
            self._graph_contexts.append(context)
            self._set_shapes(context, batch)
            for name, buffer in self._device.items():
                self._set_address(context, name, buffer.address)
            views = self._view_batch(batch)
            # The first run after a change of shapes does what cannot be recorded.
            self._run(context, stream, batch, views)
            stream.synchronize()
            self._graphs[batch] = Graph(stream, partial(self._record, context, batch, views))

    def forget_graphs(self) -> None:
        """Free what `capture` has recorded so far."""
        for graph in self._graphs.values():
            graph.close()
        self._graphs.clear()
        self._graph_contexts.clear()

    def inputs(self, batch: int) -> Mapping[str, Tensor]:
        """Return the page-locked arrays to write a batch of this size into.

        Waits, should the GPU still use them after a batch that failed.
        """
        if self._busy:
            self.settle(SETTLE_TIMEOUT_S)
        if batch not in self._views:
            self._views[batch] = self._view_batch(batch)
        return self._views[batch].inputs

    def retune(self, request: GridDecode, iou_threshold: float | None) -> None:
        """Let the decoder, if there is one, use other thresholds from the next batch on.

        Raises:
            BackendError: CUDA refused.
            ValueError: More than thresholds would change.
        """
        if self._stream is None:
            raise BackendError("the engine was closed")
        if self._busy:
            self.settle(SETTLE_TIMEOUT_S)
        if self.decoder is not None:
            self.decoder.retune(self._stream, request, iou_threshold)

    def enqueue(self, batch: int, frames: Sequence[Frame] | None = None) -> None:
        """Enqueue copy-in, the engine and copy-out of a batch.

        Args:
            batch: Its size, `len(frames)` or more; places without a frame are padding.
            frames: What to feed; None: what lies in `inputs(batch)`.

        Raises:
            BackendError: TensorRT or CUDA refused.
            ValueError: A frame is not what it says.
        """
        if self._stream is None or self._events is None:
            raise BackendError("the engine was closed")
        if self._busy:
            self.settle(SETTLE_TIMEOUT_S)
        stream, (started, done) = self._stream, self._events
        if batch not in self._views:
            self._views[batch] = self._view_batch(batch)
        views = self._views[batch]
        with cuda_errors(f"a batch of {batch} cannot be enqueued"):
            self._busy = True
            self._enqueued_s = time.monotonic()
            started.record(stream)
            if self._feed is not None and frames is not None:
                self._feed.load(frames, stream)
            else:
                for name, host in views.inputs.items():
                    self._device[name].copy_from(host, stream)
            graph = self._graphs.get(batch)
            if graph is not None:
                graph.launch()
                outputs = views.outputs
            else:
                self._set_batch(batch)
                outputs = self._run(self._context, stream, batch, views)
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
        # Counted in pauses: while the whole process stands still the GPU's work may, too.
        waited_s = 0.0
        # Sleeping, as a wait in CUDA has no timeout: first until it is usually done, then in steps that grow.
        sleep_precisely()
        first_s = min(self._enqueued_s + self._usual_s - time.monotonic(), LONGEST_FIRST_PAUSE_S)
        pause_s = SHORTEST_PAUSE_S
        while not done.passed():
            if waited_s > timeout_s:
                raise BackendError(f"the GPU did not finish a batch within {timeout_s:.3g} s")
            time.sleep(max(first_s, pause_s))
            waited_s += max(first_s, pause_s)
            first_s, pause_s = 0.0, min(1.25 * pause_s, LONGEST_PAUSE_S)
        outputs, self._enqueued = self._enqueued, None
        self._busy = False
        gpu_ms = done.ms_since(started)
        # The GPU's own time does not depend on when it was looked at.
        self._usual_s += SMOOTHING * (gpu_ms / 1e3 - self._usual_s)
        return outputs, gpu_ms

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
        """Destroy graphs and execution contexts: before their engine, which comes before the memory."""
        self.forget_graphs()
        self._context = None
        self._allocators.clear()

    def _free(self) -> None:
        self.drop_context()
        self._views.clear()
        self._enqueued = None
        for output in self._growing.values():
            output.buffer.close()
        for part in (
            self._feed,
            self.decoder,
            self._activation,
            *self._device.values(),
            *self._host.values(),
        ):
            if part is not None:
                part.close()
        for event in self._events or ():
            event.close()
        if self._stream is not None:
            self._stream.close()
        self._events = self._stream = None

    def _set_batch(self, batch: int) -> None:
        if batch != self._batch:
            self._batch = 0
            self._set_shapes(self._context, batch)
            self._batch = batch

    def _set_shapes(self, context: Any, batch: int) -> None:
        for spec in self._inputs:
            if None in spec.shape:
                shape = shape_of(spec, batch)
                with tensorrt_log.listening() as words:
                    accepted = context.set_input_shape(spec.name, shape)
                if not accepted:
                    raise BackendError(f"TensorRT refused the shape {shape} of {spec.name!r}: {quote(words)}")

    def _add_buffers(self, spec: TensorSpec, shape: Shape) -> None:
        size_bytes = spec.dtype.itemsize
        for axis in shape:
            size_bytes *= axis
        self._host[spec.name] = PinnedBuffer(size_bytes)
        self._device[spec.name] = DeviceBuffer(size_bytes)
        self._set_address(self._context, spec.name, self._device[spec.name].address)

    def _add_growing(self, spec: TensorSpec) -> None:
        output = self._growing[spec.name] = GrowingOutput()
        allocator = native_allocator(output)
        self._allocators.append(allocator)
        with tensorrt_log.listening() as words:
            accepted = self._context.set_output_allocator(spec.name, allocator)
        if not accepted:
            raise BackendError(f"TensorRT refused an allocator for {spec.name!r}: {quote(words)}")
        self._host[spec.name] = PinnedBuffer(output.buffer.size_bytes)

    def _set_address(self, context: Any, name: str, address: int) -> None:
        with tensorrt_log.listening() as words:
            accepted = context.set_tensor_address(name, address)
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

    def _run(self, context: Any, stream: Stream, batch: int, views: _BatchViews) -> Mapping[str, Tensor]:
        """Enqueue everything between copy-in and results; return the outputs that are copied."""
        if self._feed is not None:
            self._feed.enqueue(stream, self._device[self._inputs[0].name].address, batch)
        self._execute(context, stream, batch)
        if self.decoder is not None:
            self.decoder.enqueue(stream, self._device[self._decoded].address, batch)
            return {}
        for name, host in views.outputs.items():
            self._device[name].copy_to(host, stream)
        return {**views.outputs, **self._copy_grown(stream)} if self._growing else views.outputs

    def _record(self, context: Any, batch: int, views: _BatchViews) -> None:
        assert self._stream is not None  # noqa: S101 - `capture` has made sure
        self._run(context, self._stream, batch, views)

    def _execute(self, context: Any, stream: Stream, batch: int) -> None:
        for output in self._growing.values():
            output.shape = output.error = None
        with tensorrt_log.listening() as words:
            accepted = context.execute_async_v3(stream.handle)
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
