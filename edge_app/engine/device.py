"""This machine, as far as an engine depends on it."""

from __future__ import annotations

from edge_app.engine.identity import DeviceFacts
from edge_app.gpu.describe import DeviceDescription, describe_device
from edge_app.gpu.tensorrt_api import load_tensorrt


def this_device(ordinal: int = 0) -> DeviceFacts:
    """Return what an engine for GPU `ordinal` depends on.

    Raises:
        BackendError: There is no such GPU, or no TensorRT.
    """
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
