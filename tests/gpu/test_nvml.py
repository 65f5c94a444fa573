"""GPUs as the driver's library tells of them: a library made for the test, and the real one where it is."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edge_app.gpu.nvml import LIBRARY, Nvml

SOURCE = """
#include <string.h>
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned gpu, memory; } Utilization;
static int numbers[2] = {0, 1};
int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = &numbers[index]; return 0; }
int nvmlDeviceGetName(void *device, char *name, unsigned length)
{ strncpy(name, "Test GPU", length); return 0; }
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius)
{ *celsius = 50 + *(int *) device; return sensor; }
int nvmlDeviceGetPowerUsage(void *device, unsigned *mw) { *mw = 61500; return *(int *) device ? 3 : 0; }
int nvmlDeviceGetUtilizationRates(void *device, Utilization *found) { found->gpu = 87; return 0; }
int nvmlDeviceGetMemoryInfo(void *device, Memory *found)
{ found->total = 1ull << 36; found->free = 1; found->used = 5ull << 32; return 0; }
"""
"""Of nvml.h what is used, less the decoder's utilization; the second GPU does not know its power (3)."""


def built(folder: Path, init: int) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source, library = folder / "nvml.c", folder / "nvml.so"
    source.write_text(SOURCE)
    subprocess.run(
        [compiler, "-shared", "-fPIC", f"-DINIT={init}", source, "-o", library], check=True, timeout=60
    )
    return library


def test_each_gpu_tells_what_it_knows(tmp_path: Path) -> None:
    library = built(tmp_path, 0)
    nvml = Nvml(lambda _: ctypes.CDLL(str(library)))
    first, second = nvml.read()
    assert (first.index, first.name, first.celsius, first.watts) == (0, "Test GPU", 50, 61.5)
    assert (first.utilization, first.decoder_utilization) == (0.87, None)
    assert (first.memory_bytes, first.memory_used_bytes) == (1 << 36, 5 << 32)
    assert (second.index, second.celsius, second.watts) == (1, 51, None)
    nvml.close()
    nvml.close()
    assert nvml.read() == []


def test_a_driver_that_does_not_work_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    library = built(tmp_path, 999)
    assert Nvml(lambda _: ctypes.CDLL(str(library))).read() == []
    assert "NVML error 999" in caplog.text


def test_without_a_driver_there_is_none(caplog: pytest.LogCaptureFixture) -> None:
    def absent(name: str) -> Any:
        raise OSError(name)

    assert Nvml(absent).read() == []
    assert not caplog.text


def test_the_real_library() -> None:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        pytest.skip("there is no NVIDIA driver")
    for gpu in Nvml().read():
        assert gpu.name
        if gpu.memory_bytes is not None and gpu.memory_used_bytes is not None:
            assert 0 <= gpu.memory_used_bytes <= gpu.memory_bytes
        assert gpu.celsius is None or 0 < gpu.celsius < 120
        assert gpu.utilization is None or 0 <= gpu.utilization <= 1
