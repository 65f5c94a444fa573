"""The limit: an engine alone, in CUDA graphs, its input on the device, nothing copied."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from edge_app.bench.engine_side import BareEngine, GraphedEngine
from edge_app.errors import BackendError
from edge_app.gpu.context import open_gpu
from edge_app.gpu.graph import graph_driver
from edge_app.gpu.tensorrt_api import load_tensorrt, native_logger, quote, tensorrt_log

MOST_STREAMS = 4
WARM_LAUNCHES = 20
AHEAD = 100
"""Launches that are enqueued on each stream before they are waited for."""


@dataclass(frozen=True, slots=True)
class RawSpeed:
    """What an engine does alone.

    Attributes:
        frames_per_s: Median over the rounds, for 1 to 4 concurrent streams.
        launch_ms: One launch on an idle GPU, between two events, median.
    """

    frames_per_s: tuple[float, ...]
    launch_ms: float

    @property
    def limit(self) -> float:
        """Frames a second with the best number of streams."""
        return max(self.frames_per_s)


class RawEngine:
    """An engine at one batch size on up to four streams.

    Raises:
        BackendError: It cannot be loaded, or `cuda.bindings` is not installed.
    """

    def __init__(self, plan: bytes, batch: int, device: int = 0) -> None:
        self._batch = batch
        self._gpu = open_gpu(device)
        driver = graph_driver()
        if driver is None:
            raise BackendError("the limit is measured with CUDA graphs, and cuda-bindings is not installed")
        trt = load_tensorrt()
        with self._gpu.attach():
            trt.init_libnvinfer_plugins(native_logger(), "")
            self._runtime = trt.Runtime(native_logger())
            with tensorrt_log.listening() as words:
                self._native = self._runtime.deserialize_cuda_engine(plan)
            if self._native is None:
                raise BackendError(f"TensorRT cannot load this engine: {quote(words)}")
            self._bare = [BareEngine(self._native, batch) for _ in range(MOST_STREAMS)]
            self._graphs = [GraphedEngine(engine, driver) for engine in self._bare]

    def frames_per_s(self, streams: int, seconds: float) -> float:
        """Run so many streams for so many seconds and return how many frames a second they did."""
        graphs = self._graphs[:streams]
        with self._gpu.attach():
            for graph in graphs:
                for _ in range(WARM_LAUNCHES):
                    graph.call()
                graph.wait()
            rounds = 0
            started = time.perf_counter()
            while time.perf_counter() - started < seconds:
                # Enqueued far ahead, so that the GPU never waits for the host.
                for _ in range(AHEAD):
                    for graph in graphs:
                        graph.call()
                rounds += AHEAD
                for graph in graphs:
                    graph.wait()
            elapsed_s = time.perf_counter() - started
        return self._batch * streams * rounds / elapsed_s

    def launch_ms(self, calls: int = 50, pause_s: float = 0.0) -> float:
        """Return the median time of one launch on an idle GPU, between two events.

        Args:
            calls: How many are timed.
            pause_s: How long nothing is done before each, as between the frames of one camera: the GPU's
                caches are cold then, and its clocks may be lower.
        """
        times_ms = []
        with self._gpu.attach():
            for _ in range(calls):
                time.sleep(pause_s)
                times_ms.append(self._graphs[0].device_ms())
        return float(np.median(times_ms))

    def close(self) -> None:
        """Free everything."""
        with self._gpu.attach():
            for graph in self._graphs:
                graph.close()
            for engine in self._bare:
                engine.close()
            self._native = self._runtime = None
