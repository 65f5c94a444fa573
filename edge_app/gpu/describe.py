"""What GPU this is: for the log, for an engine's identity, and for the doctor."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edge_app.errors import BackendError
from edge_app.gpu.driver import L4T_RELEASE, cuda_driver, cuda_errors

DRIVER_VERSION = Path("/sys/module/nvidia/version")


@dataclass(frozen=True, slots=True)
class DeviceDescription:
    """A GPU and the software under it.

    Attributes:
        ordinal: Its number, from 0.
        name: What NVIDIA calls it.
        compute_capability: Major and minor, such as (8, 7).
        memory_bytes: All of its memory; on a Jetson it is the system's.
        integrated: Whether it shares its memory with the CPU.
        driver: Version of the kernel driver, where it tells (not on a Jetson).
        cuda: Newest CUDA version that the driver supports, such as 12.6.
        l4t: Version of Linux for Tegra, such as 36.4.3; None where this is no Jetson.
    """

    ordinal: int
    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    integrated: bool
    driver: str | None
    cuda: str
    l4t: str | None

    def __str__(self) -> str:
        major, minor = self.compute_capability
        parts = [
            f"{self.name} (compute capability {major}.{minor}, {self.memory_bytes / 2**30:.1f} GiB",
            f"CUDA {self.cuda}",
        ]
        parts += [f"driver {self.driver}"] if self.driver else []
        parts += [f"L4T {self.l4t}"] if self.l4t else []
        return ", ".join(parts) + ")"


def describe_device(ordinal: int = 0) -> DeviceDescription:
    """Return what is known of a GPU; no context is made.

    Raises:
        BackendError: PyCUDA is missing, or there is no such GPU.
    """
    driver = cuda_driver()
    with cuda_errors(f"GPU {ordinal} cannot be described"):
        count = driver.Device.count()
        if ordinal >= count:
            raise BackendError(f"there is no GPU {ordinal}: this machine has {count}")
        device = driver.Device(ordinal)
        major, minor = device.compute_capability()
        return DeviceDescription(
            ordinal=ordinal,
            name=str(device.name()),
            compute_capability=(int(major), int(minor)),
            memory_bytes=int(device.total_memory()),
            integrated=bool(device.get_attribute(driver.device_attribute.INTEGRATED)),
            driver=_first_line(DRIVER_VERSION),
            cuda=cuda_version(int(driver.get_driver_version())),
            l4t=l4t_version(_first_line(L4T_RELEASE)),
        )


def cuda_version(number: int) -> str:
    """Return CUDA's version number (1000 * major + 10 * minor) as text."""
    return f"{number // 1000}.{number % 1000 // 10}"


def l4t_version(release: str | None) -> str | None:
    """Return the version in the first line of /etc/nv_tegra_release, or None if there is none.

    The line reads `# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, ...`.
    """
    found = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", release or "")
    return f"{found[1]}.{found[2]}" if found else None


def _first_line(path: Path) -> str | None:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return None
    return lines[0].strip() if lines else None
