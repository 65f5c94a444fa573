"""The building child process with TensorRT-RTX: the builder of TensorRT 11, which needs no GPU."""

import sys
from typing import Any

from edge_app.engine.worker import serve


def load() -> Any:
    import tensorrt_rtx_bindings as trt

    return trt


def for_some_gpu(config: Any) -> None:
    import tensorrt_rtx_bindings as trt

    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], load, for_some_gpu))
