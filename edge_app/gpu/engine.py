"""An engine on the GPU: deserialised, its inputs and outputs known, its slots in one hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.errors import BackendError, ModelError
from edge_app.gpu.api_table import STRONG_ONLY
from edge_app.gpu.context import Gpu
from edge_app.gpu.memory import Stream
from edge_app.gpu.resource import Resource
from edge_app.gpu.slot import ExecutionSlot, Shape
from edge_app.gpu.tensorrt_api import (
    load_tensorrt,
    native_logger,
    quote,
    tensorrt_log,
    tensorrt_version,
)
from edge_app.interfaces import TensorSpec

DTYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}
"""By the names of `tensorrt.DataType`; 8.6 has no INT64 and turns such tensors into INT32."""

PROFILE = 0
"""Our engines have one optimization profile."""

REBUILD_HINT = "Build the engine again on this machine: edge-app build."


class UnloadableEngineError(ModelError):
    """TensorRT does not take the plan: damaged, or of another version or device."""


@dataclass(frozen=True, slots=True)
class InputRange:
    """An input of an engine, and the shapes that its optimization profile takes; equal where fixed."""

    spec: TensorSpec
    minimum: Shape
    maximum: Shape

    def resolve(self, wanted: Mapping[int, int]) -> tuple[int | None, ...]:
        """Return the shape with the axes in `wanted` filled in, all but a dynamic first one known.

        Raises:
            ModelError: An axis stays open, or is outside of what the profile takes.
        """
        shape = list(self.spec.shape)
        for axis, length in wanted.items():
            shape[axis] = length if shape[axis] is None else shape[axis]
            if not self.minimum[axis] <= length <= self.maximum[axis]:
                raise ModelError(
                    f"input {self.spec.name!r}: axis {axis} is to be {length}, but the engine takes "
                    f"{self.minimum[axis]} to {self.maximum[axis]}",
                    hint=REBUILD_HINT,
                )
        if None in shape[1:]:
            raise ModelError(f"input {self.spec.name!r} leaves more axes open than the batch: {shape}")
        return tuple(shape)


class LoadedEngine(Resource):
    """An engine and everything that runs it. The thread is attached to the GPU.

    Args:
        gpu: Where it runs.
        plan: The engine as TensorRT wrote it. It holds code, so it is what was checked, never a path.
        source: Its file, for messages.
        host_code: Whether it brings code for the CPU too, as version-compatible engines do.

    Attributes:
        inputs: By name, in the engine's order.
        outputs: By name, in the engine's order; None in a shape is the batch, or depends on the data.

    Raises:
        UnloadableEngineError: The plan is damaged, or of another version or device.
        ModelError: Its inputs or outputs cannot be fed or read.
        BackendError: TensorRT or CUDA cannot be used.
    """

    kind = "engine"

    def __init__(self, gpu: Gpu, plan: bytes, source: Path, *, host_code: bool = False) -> None:
        self.gpu = gpu
        self._source = source
        self._slots: list[ExecutionSlot] = []
        self._contexts_made = 0
        tensorrt = load_tensorrt()
        if not plan:
            raise ModelError(f"{source}: the engine is empty", hint=REBUILD_HINT)
        with tensorrt_log.listening() as words:
            tensorrt.init_libnvinfer_plugins(native_logger(), "")
            self._runtime = tensorrt.Runtime(native_logger())
            if host_code:
                self._runtime.engine_host_code_allowed = True
            self._native = self._runtime.deserialize_cuda_engine(plan)
        if self._native is None:
            raise UnloadableEngineError(
                f"{source}: TensorRT {tensorrt.__version__} cannot load this engine: {quote(words)}",
                hint=REBUILD_HINT,
            )
        try:
            self._read_tensors(tensorrt)
        except BaseException:
            self._native = self._runtime = None
            raise
        super().__init__()

    @property
    def min_batch(self) -> int:
        """Fewest images that it runs with; what is missing is filled up."""
        return max(item.minimum[0] for item in self.inputs.values())

    @property
    def max_batch(self) -> int:
        """Most images that it runs with."""
        return min(item.maximum[0] for item in self.inputs.values())

    def add_slot(self, shapes: Mapping[str, tuple[int | None, ...]], max_batch: int) -> ExecutionSlot:
        """Return a new slot with memory for `max_batch`; the engine closes it.

        Args:
            shapes: The shape of every input, None where the batch size stands.
            max_batch: Largest batch that will be run.

        Raises:
            BackendError: TensorRT or CUDA refused, or there is not enough memory.
        """
        if set(shapes) != set(self.inputs):
            raise BackendError(
                f"{self._source}: the engine's inputs are {', '.join(self.inputs)}, "
                f"fed are {', '.join(shapes)}"
            )
        inputs = [TensorSpec(name, shape, self.inputs[name].spec.dtype) for name, shape in shapes.items()]
        slot = ExecutionSlot(self, inputs, tuple(self.outputs.values()))
        self._slots.append(slot)
        slot.prepare(max_batch)
        return slot

    @property
    def activation_bytes(self) -> int:
        """How much activation memory an execution context needs."""
        if tensorrt_version() >= STRONG_ONLY:
            return int(self._native.device_memory_size_v2)
        return int(self._native.device_memory_size)

    def make(self, activation_address: int, stream: Stream) -> Any:
        """Return an execution context that uses the activation memory at this address.

        Raises:
            BackendError: There is no memory, or the profile cannot be shared.
        """
        with tensorrt_log.listening() as words:
            context = self._new_context()
        if context is None:
            raise BackendError(
                f"{self._source}: TensorRT made no execution context: {quote(words)}",
                hint="Is the GPU's memory full? Fewer inference.slots need less.",
            )
        self._give_memory(context, activation_address)
        self._contexts_made += 1
        # The first context has the profile by itself, and an engine of fixed shapes needs none. TensorRT is
        # not asked which one is active: 8.6 dies of that question where a profile is not shared.
        if self._contexts_made > 1 and any(None in item.spec.shape for item in self.inputs.values()):
            self._choose_profile(context, stream)
        return context

    def _new_context(self) -> Any:
        if tensorrt_version() >= STRONG_ONLY:
            strategy = load_tensorrt().ExecutionContextAllocationStrategy.USER_MANAGED
            return self._native.create_execution_context(strategy)
        return self._native.create_execution_context_without_device_memory()

    def _give_memory(self, context: Any, address: int) -> None:
        if tensorrt_version() >= STRONG_ONLY:
            context.set_device_memory(address, self.activation_bytes)
        else:
            context.device_memory = address

    def _choose_profile(self, context: Any, stream: Stream) -> None:
        with tensorrt_log.listening() as words:
            chosen = context.set_optimization_profile_async(PROFILE, stream.handle)
        if not chosen:
            raise BackendError(
                f"the engine does not let slot {len(self._slots)} share its optimization profile: "
                f"{quote(words)}",
                hint="Build it again with profile sharing: edge-app build; or set inference.slots to 1.",
            )
        stream.synchronize()

    def close(self, timeout_s: float = 5.0) -> None:
        """Wait for what is in flight, then free everything in the order that TensorRT needs.

        Raises:
            BackendError: The GPU did not finish within `timeout_s` seconds. What it may still write to
                is not freed.
        """
        for slot in self._slots:
            slot.settle(timeout_s)
        super().close()

    def _free(self) -> None:
        for slot in self._slots:
            slot.drop_context()
        self._native = None
        self._runtime = None
        while self._slots:
            self._slots.pop().close()

    def _read_tensors(self, tensorrt: Any) -> None:
        engine = self._native
        self.inputs: dict[str, InputRange] = {}
        self.outputs: dict[str, TensorSpec] = {}
        for number in range(engine.num_io_tensors):
            name = engine.get_tensor_name(number)
            spec = TensorSpec(name, self._shape(name), self._dtype(name))
            if engine.is_shape_inference_io(name):
                raise ModelError(f"{self._source}: tensor {name!r} holds a shape; only data can be fed")
            if engine.get_tensor_format(name) != tensorrt.TensorFormat.LINEAR:
                raise ModelError(
                    f"{self._source}: tensor {name!r} has the format "
                    f"{engine.get_tensor_format(name).name}, expected LINEAR",
                    hint=REBUILD_HINT,
                )
            if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT:
                self.inputs[name] = self._range(spec)
            else:
                self.outputs[name] = spec
        if not self.inputs or not self.outputs:
            raise ModelError(f"{self._source}: an engine with inputs and outputs is expected")

    def _shape(self, name: str) -> tuple[int | None, ...]:
        return tuple(axis if axis >= 0 else None for axis in self._native.get_tensor_shape(name))

    def _dtype(self, name: str) -> np.dtype[Any]:
        found = self._native.get_tensor_dtype(name).name
        if found not in DTYPES:
            raise ModelError(
                f"{self._source}: tensor {name!r} is {found}, expected one of {', '.join(DTYPES)}",
                hint="Export the model with inputs and outputs in one of these types.",
            )
        return np.dtype(DTYPES[found])

    def _range(self, spec: TensorSpec) -> InputRange:
        if None not in spec.shape:
            fixed = tuple(axis for axis in spec.shape if axis is not None)
            return InputRange(spec, fixed, fixed)
        minimum, _, maximum = self._native.get_tensor_profile_shape(spec.name, PROFILE)
        return InputRange(spec, tuple(minimum), tuple(maximum))
