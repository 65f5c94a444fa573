"""What the tests marked `gpu` need, and the names of what is missing."""

from __future__ import annotations

import pytest

from edge_app.errors import BackendError
from edge_app.gpu.context import Gpu, open_gpu
from edge_app.gpu.driver import count_gpus


def require_gpu() -> Gpu:
    """Return the first GPU, or skip the test where there is no GPU, PyCUDA or TensorRT.

    A GPU that is there and does not work is a failure.
    """
    if count_gpus() == 0:
        pytest.skip("there is no NVIDIA GPU")
    pytest.importorskip("pycuda", reason="PyCUDA is not installed")
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    try:
        return open_gpu()
    except BackendError as error:
        pytest.fail(str(error))
