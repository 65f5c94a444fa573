"""CUDA graphs: what is enqueued once is launched again with a single call.

PyCUDA has none, so `cuda.bindings` records them, on the same context and streams.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

from edge_app.errors import BackendError
from edge_app.gpu.enqueue import LaunchGraph
from edge_app.gpu.memory import Stream
from edge_app.gpu.resource import Resource


@lru_cache(maxsize=1)
def graph_driver() -> Any | None:
    """Return the module `cuda.bindings.driver`, or None where it is not installed."""
    try:
        return import_module("cuda.bindings.driver")
    except ImportError:
        return None


class Graph(Resource):
    """What `enqueue` puts into `stream`, recorded without being run. The thread is attached to the GPU.

    All that it uses, memory and execution contexts, must stay where it is until the graph is closed.

    Args:
        stream: Where it is recorded, and launched.
        enqueue: Enqueues the work; it must neither wait nor allocate.

    Raises:
        BackendError: `cuda.bindings` is not installed, or the work cannot be recorded.
    """

    kind = "graph"

    def __init__(self, stream: Stream, enqueue: Callable[[], None]) -> None:
        driver = graph_driver()
        if driver is None:
            raise BackendError("CUDA graphs need the package cuda-bindings")
        self._driver = driver
        self._stream = driver.CUstream(stream.handle)
        # Of this thread only: cameras may allocate page-locked memory meanwhile.
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", self._stream, mode)
        try:
            enqueue()
        except BaseException:
            driver.cuStreamEndCapture(self._stream)  # what was recorded is thrown away
            raise
        self._graph = self._call("cuStreamEndCapture", self._stream)
        try:
            self._executable = self._call("cuGraphInstantiate", self._graph, 0)
        except BackendError:
            driver.cuGraphDestroy(self._graph)
            raise
        self._launch = LaunchGraph()
        self._handles = (int(self._executable), stream.handle)
        super().__init__()

    def launch(self) -> None:
        """Enqueue the recorded work. Raises BackendError."""
        self._launch(*self._handles)

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *found = getattr(self._driver, name)(*arguments)
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise BackendError(f"{name} failed: {status}")
        return found[0] if found else None

    def _free(self) -> None:
        self._call("cuGraphExecDestroy", self._executable)
        self._call("cuGraphDestroy", self._graph)
