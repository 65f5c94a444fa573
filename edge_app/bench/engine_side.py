"""The TensorRT side of `bench.engines`: `python -m edge_app.bench.engine_side FOLDER`.

Engines are run bare, with `execute_async_v3` and in a CUDA graph: their input lies in device memory, and
nothing is copied, so that what is timed is what a framework's own module does too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_app.bench.turns import Runner, make_input, serve
from edge_app.errors import BackendError
from edge_app.gpu.context import open_gpu
from edge_app.gpu.describe import describe_device
from edge_app.gpu.memory import DeviceBuffer, Event, PinnedBuffer, Stream
from edge_app.gpu.tensorrt_api import load_tensorrt, native_logger, quote, tensorrt_log

FLOAT_BYTES = 4


class BareEngine:
    """An engine with float32 inputs and outputs, at one batch size, on a stream of its own."""

    def __init__(self, native: Any, batch: int) -> None:
        trt = load_tensorrt()
        self.stream = Stream()
        self._events = (Event(), Event())
        self._buffers: dict[str, DeviceBuffer] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._context = native.create_execution_context()
        if self._context is None:
            raise BackendError("TensorRT made no execution context")
        names = [native.get_tensor_name(number) for number in range(native.num_io_tensors)]
        self._inputs = [name for name in names if native.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._outputs = [name for name in names if name not in self._inputs]
        if self._context.active_optimization_profile != 0:
            # Only the first context of an engine has the profile by itself.
            self._context.set_optimization_profile_async(0, self.stream.handle)
            self.stream.synchronize()
        for name in self._inputs:
            shape = (batch, *tuple(native.get_tensor_shape(name))[1:])
            if not self._context.set_input_shape(name, shape):
                raise BackendError(f"TensorRT refused the shape {shape} of {name!r}")
        for name in names:
            self._give_memory(native, name)
        for name in self._inputs:
            self._fill(name)

    def call(self) -> None:
        """Enqueue the engine."""
        if not self._context.execute_async_v3(self.stream.handle):
            raise BackendError("TensorRT failed to enqueue the engine")

    def wait(self) -> None:
        """Wait for the stream."""
        self.stream.synchronize()

    def device_ms(self) -> float:
        """Enqueue the engine between two events and return the time between them."""
        return self.time_between_events(self.call)

    def time_between_events(self, call: Any) -> float:
        """Return the milliseconds that the GPU takes from before `call` to after it."""
        started, done = self._events
        started.record(self.stream)
        call()
        done.record(self.stream)
        self.stream.synchronize()
        return done.ms_since(started)

    def outputs(self) -> Sequence[NDArray[Any]]:
        """Copy the outputs to the host."""
        return [self._copy_out(name) for name in self._outputs]

    def close(self) -> None:
        """Free the context, then what it used."""
        self._context = None
        for buffer in self._buffers.values():
            buffer.close()
        for event in self._events:
            event.close()
        self.stream.close()

    def _give_memory(self, native: Any, name: str) -> None:
        dtype = native.get_tensor_dtype(name).name
        if dtype != "FLOAT":
            raise BackendError(f"tensor {name!r} is {dtype}: this benchmark compares FP32 inputs and outputs")
        shape = self._shapes[name] = tuple(self._context.get_tensor_shape(name))
        buffer = self._buffers[name] = DeviceBuffer(int(np.prod(shape)) * FLOAT_BYTES)
        if not self._context.set_tensor_address(name, buffer.address):
            raise BackendError(f"TensorRT refused the memory for {name!r}")

    def _fill(self, name: str) -> None:
        host = PinnedBuffer(self._buffers[name].size_bytes)
        view = host.view(self._shapes[name], np.dtype(np.float32))
        view[:] = make_input(self._shapes[name])
        self._buffers[name].copy_from(view, self.stream)
        self.stream.synchronize()
        host.close()

    def _copy_out(self, name: str) -> NDArray[Any]:
        host = PinnedBuffer(self._buffers[name].size_bytes)
        view = host.view(self._shapes[name], np.dtype(np.float32))
        self._buffers[name].copy_to(view, self.stream)
        self.stream.synchronize()
        found: NDArray[Any] = view.copy()
        host.close()
        return found


class GraphedEngine:
    """The same engine in a CUDA graph: one launch for all of its kernels."""

    def __init__(self, engine: BareEngine, driver: Any) -> None:
        self._engine = engine
        self._driver = driver
        self._stream = driver.CUstream(engine.stream.handle)
        # The first call after a change of shapes may do what cannot be captured.
        engine.call()
        engine.wait()
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._check("cuStreamBeginCapture", self._stream, mode)
        engine.call()
        self._graph = self._check("cuStreamEndCapture", self._stream)
        self._executable = self._check("cuGraphInstantiate", self._graph, 0)

    def call(self) -> None:
        """Launch the graph."""
        (status,) = self._driver.cuGraphLaunch(self._executable, self._stream)
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise BackendError(f"cuGraphLaunch: {status}")

    def wait(self) -> None:
        """Wait for the stream."""
        self._engine.wait()

    def device_ms(self) -> float:
        """Launch the graph between two events and return the time between them."""
        return self._engine.time_between_events(self.call)

    def outputs(self) -> Sequence[NDArray[Any]]:
        """Copy the outputs to the host."""
        return self._engine.outputs()

    def close(self) -> None:
        """Free the graph, which comes before the engine's context."""
        self._check("cuGraphExecDestroy", self._executable)
        self._check("cuGraphDestroy", self._graph)

    def _check(self, name: str, *arguments: Any) -> Any:
        status, *found = getattr(self._driver, name)(*arguments)
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise BackendError(f"{name}: {status}")
        return found[0] if found else None


Running = TypeVar("Running", BareEngine, GraphedEngine)


class EngineSide:
    """Every `MODEL.LABEL.engine` of a folder. The thread is attached to the GPU."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        trt = load_tensorrt()
        trt.init_libnvinfer_plugins(native_logger(), "")
        self._runtime = trt.Runtime(native_logger())
        self._engines: dict[Path, Any] = {}
        self._running: list[BareEngine | GraphedEngine] = []
        self._driver = _graph_driver()

    def describe(self) -> Mapping[str, str]:
        """Return the device and the versions."""
        return {
            "device": str(describe_device()),
            "tensorrt": load_tensorrt().__version__,
            "python": sys.version.split()[0],
        }

    def open(self, model: str, batch: int) -> Mapping[str, Runner | str]:
        """Return the ways of every engine of that model which takes that batch."""
        ways: dict[str, Runner | str] = {}
        for path in sorted(self._folder.glob(f"{model}.*.engine")):
            label = "TensorRT " + path.name.removeprefix(f"{model}.").removesuffix(".engine")
            try:
                native = self._load(path)
                if _takes(native, batch):
                    ways[label] = self._keep(BareEngine(native, batch))
                    ways[f"{label} graph"] = self._graph(native, batch)
            except BackendError as error:
                ways[label] = str(error)
        return ways

    def close(self) -> None:
        """Free graphs, contexts, engines, in this order."""
        while self._running:
            self._running.pop().close()
        self._engines.clear()
        self._runtime = None

    def _graph(self, native: Any, batch: int) -> Runner | str:
        if self._driver is None:
            return "cuda.bindings is not installed"
        # In a context of its own: what a graph holds must not run elsewhere.
        return self._keep(GraphedEngine(self._keep(BareEngine(native, batch)), self._driver))

    def _keep(self, runner: Running) -> Running:
        self._running.append(runner)
        return runner

    def _load(self, path: Path) -> Any:
        if path not in self._engines:
            with tensorrt_log.listening() as words:
                native = self._runtime.deserialize_cuda_engine(path.read_bytes())
            if native is None:
                raise BackendError(f"{path}: TensorRT cannot load this engine: {quote(words)}")
            self._engines[path] = native
        return self._engines[path]


def _takes(native: Any, batch: int) -> bool:
    """Tell whether the engine's first tensor, an input, takes that batch."""
    name = native.get_tensor_name(0)
    fixed = native.get_tensor_shape(name)[0]
    if fixed >= 0:
        return bool(fixed == batch)
    least, _, most = native.get_tensor_profile_shape(name, 0)
    return bool(least[0] <= batch <= most[0])


def _graph_driver() -> Any:
    try:
        return import_module("cuda.bindings.driver")
    except ImportError:
        return None


if __name__ == "__main__":
    gpu = open_gpu()
    with gpu.attach():
        serve(EngineSide(Path(sys.argv[1])))
