"""This machine, as far as an engine depends on it."""

from __future__ import annotations

from edge_app.engine.identity import DeviceFacts
from edge_app.errors import BackendError
from edge_app.gpu.describe import DeviceDescription, describe_device
from edge_app.gpu.driver import count_gpus
from edge_app.gpu.tensorrt_api import load_tensorrt


def this_device(ordinal: int = 0) -> DeviceFacts:
    """Return what an engine for GPU `ordinal` depends on.

    Raises:
        BackendError: There is no such GPU, or no TensorRT.
    """
    if count_gpus() == 0:
        raise BackendError(
            "this machine has no NVIDIA GPU, or its driver is not installed",
            hint="An engine is built on the machine that will run it; nvidia-smi must show a GPU there.",
        )
    return device_facts(describe_device(ordinal), load_tensorrt().__version__)


def device_facts(described: DeviceDescription, tensorrt: str) -> DeviceFacts:
    """Return the part of a GPU's description that belongs to an engine's identity."""
    major, minor = described.compute_capability
    return DeviceFacts(
        tensorrt=tensorrt,
        cuda=described.cuda,
        gpu=described.name,
        compute_capability=f"{major}.{minor}",
        l4t=described.l4t or "",
    )
