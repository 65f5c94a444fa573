"""PyCUDA, found when it is needed; and whether there is a GPU at all, told without it."""

from __future__ import annotations

import ctypes
import warnings
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_app.errors import BackendError

LIBRARY = "libcuda.so.1"
"""The driver's own library."""
L4T_RELEASE = Path("/etc/nv_tegra_release")
"""Exists on a Jetson only."""

CUDA_SUCCESS = 0
CUDA_ERROR_NO_DEVICE = 100

PYCUDA_HINTS = {
    "jetson": "PyCUDA is compiled on the device: sudo apt install cuda-nvcc-12-6 cuda-cudart-dev-12-6 "
    "python3-dev g++ (with the CUDA version of your JetPack), then "
    "PATH=/usr/local/cuda/bin:$PATH pip install pycuda.",
    "x86": "Install the CUDA toolkit, then PATH=/usr/local/cuda/bin:$PATH pip install pycuda.",
}


def platform_name(l4t_release: Path = L4T_RELEASE) -> str:
    """Return which advice fits this machine: `jetson` or `x86`."""
    return "jetson" if l4t_release.exists() else "x86"


def count_gpus(library: str = LIBRARY) -> int:
    """Return how many NVIDIA GPUs the driver offers; 0 where there is no driver.

    Raises:
        BackendError: There is a driver, and it does not work.
    """
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    for name, status in (
        ("cuInit", driver.cuInit(ctypes.c_uint(0))),
        ("cuDeviceGetCount", driver.cuDeviceGetCount(ctypes.byref(count))),
    ):
        if status == CUDA_ERROR_NO_DEVICE:
            return 0
        if status != CUDA_SUCCESS:
            raise BackendError(
                f"the NVIDIA driver does not work: {name} returned CUDA error {status}",
                hint="Run nvidia-smi (on a Jetson: look at dmesg); after an update of the driver, restart.",
            )
    return count.value


@lru_cache(maxsize=1)
def cuda_driver() -> Any:
    """Return the module `pycuda.driver`, initialised.

    Raises:
        BackendError: It is not installed, or there is no GPU that works.
    """
    try:
        with warnings.catch_warnings():
            # It warns of what the ImportError says again.
            warnings.simplefilter("ignore")
            import pycuda.driver as driver
    except ImportError as error:
        raise BackendError(
            f"PyCUDA cannot be imported: {error}", hint=PYCUDA_HINTS[platform_name()]
        ) from None
    try:
        driver.init()
    except driver.Error as error:
        raise BackendError(
            f"CUDA cannot be used: {error}", hint="Is there an NVIDIA GPU, and does its driver work?"
        ) from None
    return driver


class cuda_errors:  # noqa: N801 - read as a statement: `with cuda_errors("..."):`
    """Turns a CUDA error into a BackendError that says what was being done.

    A class, as a generator takes three times as long, and several surround each batch.
    """

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise BackendError in a CUDA error's place."""
        if error is not None and isinstance(error, cuda_driver().Error):
            raise BackendError(f"{self._doing}: {error}") from error


def keep_for_ever(part: Any) -> None:
    """Let PyCUDA's destructor of a part never run: some fail, and say so on standard error, when Python ends.

    The driver frees what a process leaves.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(part))
