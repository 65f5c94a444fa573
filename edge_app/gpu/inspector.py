"""The layers of an engine, as TensorRT's engine inspector tells them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_app.errors import ModelError
from edge_app.gpu.api_table import INSPECTOR_API
from edge_app.gpu.context import Gpu
from edge_app.gpu.tensorrt_api import check_version, load_tensorrt, native_logger, quote, tensorrt_log


def read_layers(gpu: Gpu, plan: bytes, source: Path, *, host_code: bool = False) -> str:
    """Return what TensorRT says of an engine, as the JSON text of its inspector.

    An engine holds code: `plan` must have been checked against its manifest.

    Args:
        gpu: The GPU that it was built for.
        plan: The engine as TensorRT wrote it.
        source: Its file, for messages.
        host_code: Whether it brings code for the CPU too, as version-compatible engines do.

    Raises:
        ModelError: TensorRT cannot load it.
        BackendError: TensorRT is not installed or lacks its inspector.
    """
    tensorrt = load_tensorrt()
    check_version(tensorrt, INSPECTOR_API)
    with gpu.attach(), tensorrt_log.listening() as words:
        tensorrt.init_libnvinfer_plugins(native_logger(), "")
        runtime: Any = tensorrt.Runtime(native_logger())
        if host_code:
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise ModelError(
                f"{source}: TensorRT {tensorrt.__version__} cannot load this engine: {quote(words)}",
                hint="Build the engine again on this machine: edge-app build.",
            )
        inspector = engine.create_engine_inspector()
        try:
            return str(inspector.get_engine_information(tensorrt.LayerInformationFormat.JSON))
        finally:
            # The order matters: the inspector reads the engine, the engine needs its runtime.
            del inspector
            del engine
            del runtime
