"""GPU, driver, TensorRT and what compiles for them; each asked by a child process, which may crash."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from edge_app.doctor.machine import Answer, Machine
from edge_app.doctor.platform import JETPACKS, l4t_of
from edge_app.doctor.result import Result, Status, failed, ok, skipped, warning
from edge_app.gpu.api_table import OLDEST, UNKNOWN
from edge_app.gpu.driver import PYCUDA_HINTS
from edge_app.gpu.tensorrt_api import TENSORRT_HINTS, parse_version

_ASK_DRIVER = """
import ctypes, json, sys
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError as error:
    print(json.dumps({"absent": str(error)})); sys.exit()
status = cuda.cuInit(0)
count, gpus = ctypes.c_int(0), []
if status == 0:
    cuda.cuDeviceGetCount(ctypes.byref(count))
for ordinal in range(count.value):
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGet(ctypes.byref(device), ordinal)
    cuda.cuDeviceGetName(name, 256, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
    gpus.append({"name": name.value.decode(), "capability": [major.value, minor.value]})
print(json.dumps({"status": status, "gpus": gpus}))
"""
# 75 and 76 are CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h.

_ASK_VERSION = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
module = importlib.import_module(sys.argv[1])
version = getattr(module, "__version__", None) or getattr(module, "VERSION_TEXT", None)
print(json.dumps({"version": None if version is None else str(version), "file": module.__file__}))
"""

_NO_DEVICE = 100
_CUDA_HINTS = {
    304: "The system refused a call (memfd_create, say): is a seccomp filter narrower than systemd's "
    "@system-service at work?",
    802: "The GPU is not ready yet; with NVSwitch: is nvidia-fabricmanager running?",
    803: "Driver and CUDA library do not belong together: restart the machine after an update of the driver.",
    804: "Driver and CUDA library do not belong together: restart the machine after an update of the driver.",
    999: "On a Jetson: may this user open /dev/nvmap (groups video, render)? On a PC: is nvidia-uvm loaded "
    "(sudo nvidia-modprobe -u -c 0)?",
}

_UNSUPPORTED = (
    ((10, 13, 3), (10, 13, 4), (8, 7), "was built without kernels for Orin; 10.16.1 has them"),
    ((10,), UNKNOWN, (6, 2), "runs on compute capability 7.0 and newer"),
)
"""From version, up to and without, compute capability (below or equal in the second row), why.

The first: NVIDIA-ISAAC-ROS/isaac-ros-cli issue 22."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What the driver tells of a GPU."""

    name: str
    capability: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.capability[0]}.{self.capability[1]})"


@dataclass(frozen=True, slots=True)
class Driver:
    """What the CUDA driver said: its GPUs, or why there are none.

    Attributes:
        gpus: Empty where there is none.
        absent: Why the driver's library cannot be loaded; None where it can.
        error: Number of the CUDA error; 0 where all is well; None where its process crashed or hung.
    """

    gpus: tuple[Gpu, ...]
    absent: str | None
    error: int | None


def ask_driver(machine: Machine) -> Driver:
    """Ask the CUDA driver which GPUs there are, without making a context."""
    told = _json(machine.python(_ASK_DRIVER))
    if told is None:
        return Driver((), None, None)
    gpus = tuple(Gpu(gpu["name"], tuple(gpu["capability"])) for gpu in told.get("gpus", ()))
    return Driver(gpus, told.get("absent"), told.get("status", 0))


def check_gpu(machine: Machine, driver: Driver, backends: frozenset[str]) -> Result:
    """Judge what the driver said.

    Args:
        machine: A Jetson must have a GPU.
        driver: What was said.
        backends: What the configuration's models run on: auto, tensorrt, onnxruntime.
    """
    if driver.gpus:
        return ok(", ".join(str(gpu) for gpu in driver.gpus))
    if driver.error is None:
        return failed(
            "the NVIDIA driver crashes or hangs when it is asked", "Look at dmesg; restart the machine."
        )
    if driver.absent is None and driver.error not in {0, _NO_DEVICE}:
        return failed(
            f"the NVIDIA driver does not work: cuInit returned CUDA error {driver.error}",
            _CUDA_HINTS.get(driver.error, "Run nvidia-smi (on a Jetson: look at dmesg); then restart."),
        )
    why = "no driver (libcuda.so.1)" if driver.absent is not None else "the driver finds none"
    if driver.absent is not None and _has_card(machine):
        return failed(
            "there is an NVIDIA card, but not its driver (libcuda.so.1)",
            "Install the driver: sudo apt install nvidia-driver, on Ubuntu sudo ubuntu-drivers install.",
        )
    if machine.is_jetson:
        fix = "sudo apt install nvidia-l4t-cuda; in a container: --runtime nvidia, or CDI."
        return failed(f"a Jetson without its GPU: {why}", fix)
    if "tensorrt" in backends:
        return failed(
            f"no NVIDIA GPU: {why}, and inference.backend is tensorrt",
            "Install the driver, or write inference.backend: onnxruntime to run on the CPU.",
        )
    return ok(f"no NVIDIA GPU ({why}): models run on the CPU, by ONNX Runtime")


def _has_card(machine: Machine) -> bool:
    """Whether a display controller of NVIDIA's is on the PCI bus."""
    for path in machine.glob("/sys/bus/pci/devices/*"):
        folder = f"/{path.relative_to(machine.root)}"
        vendor, kind = machine.read(f"{folder}/vendor"), machine.read(f"{folder}/class") or ""
        if vendor == "0x10de" and kind.startswith("0x03"):
            return True
    return False


def check_tensorrt(machine: Machine) -> Result:
    """Look whether TensorRT can be imported by this Python, and whether it is the JetPack's."""
    fix = TENSORRT_HINTS["jetson" if machine.is_jetson else "x86"]
    version = module_version(machine, "tensorrt")
    if isinstance(version, Result):
        return failed(version.found, fix)
    numbers = parse_version(version)
    if numbers < OLDEST:
        return failed(f"TensorRT {version} is too old: 8.6 to 11 are supported", fix)
    if numbers >= UNKNOWN:
        return warning(f"TensorRT {version} is newer than what edge-app was tested with", "Upgrade edge-app.")
    known = JETPACKS.get(l4t_of(machine) or "")
    if known and not version.startswith(f"{known[1]}."):
        return warning(
            f"TensorRT {version}, where JetPack {known[0]} has {known[1]}",
            "Two versions break each other: see `pip list`, LD_LIBRARY_PATH and `dpkg -l 'libnvinfer*'`.",
        )
    return ok(f"TensorRT {version}")


def check_capability(machine: Machine, driver: Driver) -> Result:
    """Look whether this TensorRT has kernels for this GPU."""
    version = module_version(machine, "tensorrt")
    if isinstance(version, Result):
        return skipped("TensorRT cannot be imported")
    numbers = parse_version(version)
    for gpu in driver.gpus:
        for since, until, capability, why in _UNSUPPORTED:
            hit = gpu.capability == capability if capability == (8, 7) else gpu.capability <= capability
            if since <= numbers < until and hit:
                return failed(
                    f"TensorRT {version} {why}; this is {gpu}",
                    "Install another version: on a Jetson that of its JetPack, sudo apt install tensorrt.",
                )
    return ok(f"TensorRT {version} is not known to lack {', '.join(str(gpu) for gpu in driver.gpus)}")


def check_pycuda(machine: Machine) -> Result:
    """Look whether PyCUDA can be imported and its compiled part loads."""
    version = module_version(machine, "pycuda.driver", named="pycuda")
    if isinstance(version, Result):
        return failed(version.found, PYCUDA_HINTS["jetson" if machine.is_jetson else "x86"])
    return ok(f"PyCUDA {version}")


def check_cuda_bindings(machine: Machine) -> Result:
    """Look whether CUDA graphs can be used."""
    version = module_version(machine, "cuda.bindings")
    if isinstance(version, Result):
        return warning(
            f"{version.found}: batches are enqueued call by call, not as CUDA graphs",
            "pip install 'cuda-bindings~=12.6' (the version of the driver's CUDA, or older).",
        )
    return ok(f"cuda-bindings {version}")


def check_nvcc(machine: Machine) -> Result:
    """Look for the compiler of our kernels."""
    answer = machine.command("nvcc", "--version")
    if answer is None or answer.status != 0:
        return failed(
            "there is no nvcc in PATH nor in /usr/local/cuda/bin: our kernels cannot be compiled",
            "sudo apt install cuda-nvcc-12-6 (JetPack 6.1 and 6.2; the version of your CUDA), and have "
            "/usr/local/cuda/bin in PATH.",
        )
    release = re.search(r"release ([\d.]+)", answer.output)
    return ok(f"nvcc {release[1] if release else 'of an unknown version'} at {machine.which('nvcc')}")


def module_version(machine: Machine, module: str, named: str | None = None) -> str | Result:
    """Return a module's version as a child imports it; a failed Result without a fix if it cannot."""
    told = _json(answer := machine.python(_ASK_VERSION, module))
    name = named or module
    if told is not None:
        return told["version"] or _distribution(machine, name) or "of an unknown version"
    if answer is None:
        return Result(Status.FAILED, f"importing {name} hangs")
    if answer.status < 0:
        return Result(Status.FAILED, f"importing {name} crashes (signal {-answer.status})")
    last = answer.errors.splitlines()[-1:] or ["no words"]
    return Result(Status.FAILED, f"{name} cannot be imported: {last[0]}")


def _distribution(machine: Machine, name: str) -> str | None:
    code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    answer = machine.python(code, name)
    return answer.output if answer is not None and answer.status == 0 else None


def _json(answer: Answer | None) -> Any:
    if answer is None or answer.status != 0 or not answer.output:
        return None
    try:
        return json.loads(answer.output.splitlines()[-1])
    except ValueError:
        return None
