"""Which machine this is, and whether its software belongs together."""

from __future__ import annotations

import platform
import re
import sys

from edge_app.doctor.machine import Machine
from edge_app.doctor.result import Result, failed, ok, skipped, warning
from edge_app.gpu.describe import l4t_version
from edge_app.ops.sensors import JETSON_GPU

JETPACKS = {
    "36.3": ("6.0", "8.6"),
    "36.4": ("6.1", "10.3"),
    "36.4.0": ("6.1", "10.3"),
    "36.4.3": ("6.2", "10.3"),
    "36.4.4": ("6.2.1", "10.3"),
    "36.5": ("6.2.2", "10.3"),
    "38.2": ("7.0", "10.13"),
    "38.4": ("7.1", "10.13"),
    "39.2": ("7.2", "10.16"),
}
"""Linux for Tegra: its JetPack and the TensorRT that comes with it (NVIDIA's JetPack archive, July 2026)."""
OLDEST_L4T = 36

POWER_MODEL = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>")
"""A line of /etc/nvpmodel.conf."""


def l4t_of(machine: Machine) -> str | None:
    """Return the version of Linux for Tegra, such as 36.4.3; None where there is none."""
    version = l4t_version((machine.read("/etc/nv_tegra_release") or "").partition("\n")[0])
    return None if version is None else re.sub(r"^(\d+\.\d+)\.0$", r"\1", version)


def check_platform(machine: Machine) -> Result:
    """Name the machine, its system and its JetPack."""
    release = machine.read("/etc/os-release") or ""
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)', release, re.MULTILINE)
    system = f"{name[1] if name else platform.system()}, {platform.machine()}"
    model = machine.read("/proc/device-tree/model")
    if not machine.is_jetson:
        return ok(f"no Jetson: {model + ', ' if model else ''}{system}")
    return _jetpack(l4t_of(machine), f"{model or 'a Jetson'}, {system}")


def _jetpack(l4t: str | None, where: str) -> Result:
    if l4t is None:
        return warning(
            f"{where}, but /etc/nv_tegra_release does not tell its version",
            "Is this a container? Mount that file into it. On the device: sudo apt install nvidia-l4t-core.",
        )
    jetpack = JETPACKS.get(l4t)
    if int(l4t.partition(".")[0]) < OLDEST_L4T:
        return failed(
            f"{where}, L4T {l4t}: its Python and its TensorRT are older than what edge-app runs on",
            "Flash JetPack 6.0 or newer (Orin and Thor; Nano, TX2 and Xavier end with JetPack 5).",
        )
    if jetpack is None:
        return warning(
            f"{where}, L4T {l4t}, of which nothing is known here",
            "If it is newer than this edge-app, upgrade edge-app; what other checks find counts.",
        )
    return ok(f"{where}, L4T {l4t} (JetPack {jetpack[0]})")


def check_python(machine: Machine) -> Result:
    """Look whether this Python sees what JetPack installed for the system's."""
    version = platform.python_version()
    found = f"Python {version} at {sys.executable}"
    if not machine.is_jetson:
        return ok(found)
    fix = (
        "Use an environment of the system's Python that sees the system's packages: "
        "/usr/bin/python3 -m venv --system-site-packages FOLDER; `sudo make install` does that."
    )
    if sys.base_prefix != "/usr":
        return failed(f"{found}, which is not the system's: TensorRT's Python package is not for it", fix)
    settings = machine.read(f"{sys.prefix}/pyvenv.cfg") or ""
    hidden = re.search(r"include-system-site-packages\s*=\s*false", settings) is not None
    if hidden:
        return failed(f"{found}, whose environment hides the system's packages, TensorRT among them", fix)
    return ok(found)


def check_power_mode(machine: Machine) -> Result:
    """Read nvpmodel's files: the mode that is set, and which there are."""
    if not machine.is_jetson:
        return skipped("power modes are a Jetson's")
    modes = dict(POWER_MODEL.findall(machine.read("/etc/nvpmodel.conf") or ""))
    status = re.search(r"pmode:(\d+)", machine.read("/var/lib/nvpmodel/status") or "")
    if not modes or status is None:
        return warning("nvpmodel's mode cannot be read", "sudo nvpmodel -q says it.")
    number = str(int(status[1]))
    name = modes.get(number, f"number {number}")
    best = next((mode for mode in modes.values() if mode.startswith("MAXN_SUPER")), None) or next(
        (mode for mode in modes.values() if mode.startswith("MAXN")), None
    )
    if best is None or name == best:
        return ok(f"power mode {name}")
    numbers = {mode: key for key, mode in modes.items()}
    return warning(
        f"power mode {name}: fewer cores or lower clocks than in {best}",
        f"sudo nvpmodel -m {numbers[best]}, if power supply and cooling allow it. "
        "Engines are tuned for the mode they are built in: choose first, then build.",
    )


def check_clocks(machine: Machine) -> Result:
    """Look whether clocks are held (jetson_clocks) or follow the load."""
    if not machine.is_jetson:
        return skipped("jetson_clocks is a Jetson's")
    domains = [("CPU", path, "scaling_min_freq", "scaling_max_freq") for path in _cpu_policies(machine)]
    domains += [("GPU", path, "min_freq", "max_freq") for path in _gpus(machine)]
    held: dict[str, bool] = {}
    for name, folder, low, high in domains:
        least, most = machine.read(f"{folder}/{low}"), machine.read(f"{folder}/{high}")
        if least and most:
            held[name] = held.get(name, True) and least == most
    if not held:
        return warning("the clocks of CPU and GPU cannot be read", "sudo jetson_clocks --show says them.")
    loose = [name for name, fixed in held.items() if not fixed]
    if loose:
        return warning(
            f"the clocks of {' and '.join(loose)} follow the load: the first frames after a pause are late",
            "sudo jetson_clocks holds them until the next start; it costs power. For good: a service that "
            "runs it after nvpmodel.service.",
        )
    return ok(f"the clocks of {' and '.join(held)} are held")


def _cpu_policies(machine: Machine) -> list[str]:
    return [
        f"/{path.relative_to(machine.root)}"
        for path in machine.glob("/sys/devices/system/cpu/cpufreq/policy*")
    ]


def _gpus(machine: Machine) -> list[str]:
    found = [path for path in machine.glob("/sys/class/devfreq/*") if JETSON_GPU.search(path.name)]
    return [f"/{path.relative_to(machine.root)}" for path in found]
