"""The kernels compiled for the CPU, so that their arithmetic is tested where there is no GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "edge_app" / "gpu" / "kernels"


@lru_cache(maxsize=1)
def _compiled() -> Path:
    path = Path(mkdtemp(prefix="edge-app-kernels-")) / "kernels.so"
    options = ["-std=c++20", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-pthread", "-w"]
    command = ["g++", *options, f"-I{KERNELS}", "-o", str(path), str(HERE / "host_kernels.cpp")]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return path


def host_kernels() -> Any:
    """Return the library, or skip the test where there is no compiler."""
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler (g++)")
    return ctypes.CDLL(str(_compiled()))
