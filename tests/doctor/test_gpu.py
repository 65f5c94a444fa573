"""What is said of GPU, TensorRT and compilers; modules and commands are real files that are really run."""

from __future__ import annotations

import pytest

from edge_app.doctor import gpu
from edge_app.doctor.gpu import Driver, Gpu
from edge_app.doctor.result import Status
from tests.doctor.conftest import Root

ORIN = Driver((Gpu("Orin", (8, 7)),), None, 0)
AUTO = frozenset({"auto"})


@pytest.mark.parametrize(
    ("driver", "backends", "status", "words"),
    [
        (ORIN, AUTO, Status.OK, "Orin (compute capability 8.7)"),
        (Driver((), "not there", 0), AUTO, Status.OK, "models run on the CPU"),
        (Driver((), None, 100), AUTO, Status.OK, "the driver finds none"),
        (Driver((), "not there", 0), frozenset({"tensorrt"}), Status.FAILED, "inference.backend is tensorrt"),
        (Driver((), None, 999), AUTO, Status.FAILED, "CUDA error 999"),
        (Driver((), None, None), AUTO, Status.FAILED, "crashes or hangs"),
    ],
)
def test_no_gpu_is_an_error_only_where_one_is_wanted(
    root: Root, driver: Driver, backends: frozenset[str], status: Status, words: str
) -> None:
    result = gpu.check_gpu(root.machine, driver, backends)
    assert (result.status, words in result.found) == (status, True), result


def test_a_jetson_without_its_gpu_and_a_card_without_its_driver_are_errors(root: Root, jetson: Root) -> None:
    absent = Driver((), "not there", 0)
    assert gpu.check_gpu(jetson.machine, absent, AUTO).status is Status.FAILED
    root.machine.path("/etc/nv_tegra_release").unlink()
    root.machine.path("/proc/device-tree/model").unlink()
    assert gpu.check_gpu(root.machine, absent, AUTO).status is Status.OK
    root.write({"/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n"})
    root.write({"/sys/bus/pci/devices/0000:01:00.0/class": "0x030000\n"})
    assert "not its driver" in gpu.check_gpu(root.machine, absent, AUTO).found


def test_this_machines_driver_answers_or_is_absent(root: Root) -> None:
    driver = gpu.ask_driver(root.machine)
    assert driver.gpus or driver.absent is not None or driver.error is not None


def test_a_module_that_is_missing_crashes_or_fails_is_told_apart(jetson: Root) -> None:
    assert "No module named 'tensorrt'" in gpu.check_tensorrt(jetson.machine).found
    jetson.module("tensorrt", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    assert gpu.check_tensorrt(jetson.machine).found == "importing tensorrt crashes (signal 11)"
    jetson.module("tensorrt", "raise ImportError('libnvdla_compiler.so: cannot open shared object file')\n")
    result = gpu.check_tensorrt(jetson.machine)
    assert result.status is Status.FAILED
    assert "libnvdla_compiler.so" in result.found
    assert "--system-site-packages" in (result.fix or "")


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [
        ("10.3.0", Status.OK, "TensorRT 10.3.0"),
        ("10.7.0", Status.WARNING, "JetPack 6.2 has 10.3"),
        ("8.5.2.2", Status.FAILED, "too old"),
        ("12.0.1", Status.WARNING, "newer than"),
    ],
)
def test_the_version_is_compared_with_the_jetpacks(
    jetson: Root, version: str, status: Status, words: str
) -> None:
    jetson.module("tensorrt", f"__version__ = {version!r}\n")
    result = gpu.check_tensorrt(jetson.machine)
    assert (result.status, words in result.found) == (status, True), result


@pytest.mark.parametrize(
    ("version", "capability", "status"),
    [
        ("10.13.3.9", (8, 7), Status.FAILED),
        ("10.13.3.9", (11, 0), Status.OK),
        ("10.16.2.10", (8, 7), Status.OK),
        ("10.3.0", (6, 1), Status.FAILED),
        ("8.6.2", (6, 1), Status.OK),
    ],
)
def test_a_tensorrt_without_kernels_for_this_gpu_is_found(
    jetson: Root, version: str, capability: tuple[int, int], status: Status
) -> None:
    jetson.module("tensorrt", f"__version__ = {version!r}\n")
    driver = Driver((Gpu("a GPU", capability),), None, 0)
    assert gpu.check_capability(jetson.machine, driver).status is status


def test_pycuda_and_cuda_bindings_are_imported(jetson: Root) -> None:
    assert gpu.check_cuda_bindings(jetson.machine).status is Status.WARNING
    assert gpu.check_pycuda(jetson.machine).status is Status.FAILED
    jetson.module("cuda.bindings", "__version__ = '12.6.2'\n")
    jetson.module("pycuda.driver", "")
    assert gpu.check_cuda_bindings(jetson.machine).found == "cuda-bindings 12.6.2"
    assert gpu.check_pycuda(jetson.machine).status is Status.OK


def test_nvcc_is_found_in_cudas_own_folder(jetson: Root) -> None:
    assert gpu.check_nvcc(jetson.machine).status is Status.FAILED
    path = "/usr/local/cuda/bin/nvcc"
    jetson.write({path: "#!/bin/sh\necho 'Cuda compilation tools, release 12.6, V12.6.68'\n"})
    jetson.machine.path(path).chmod(0o755)
    assert gpu.check_nvcc(jetson.machine).found.startswith("nvcc 12.6 at ")
