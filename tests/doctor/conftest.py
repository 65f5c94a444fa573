"""A machine whose files lie in a folder, so that a Jetson can be examined where there is none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_app.doctor.machine import Machine
from tests.capture.parts import RtspServer, rtsp_server_lacks

ORIN_NANO = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
NVPMODEL = """
< POWER_MODEL ID=0 NAME=15W >
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >
"""
CPU, GPU = "/sys/devices/system/cpu/cpufreq/policy0", "/sys/class/devfreq/17000000.gpu"


class Root:
    """The folder that stands for `/`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules = folder / "modules"
        self.modules.mkdir()
        self.machine = Machine(
            folder, {"PYTHONPATH": f"{self.modules}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        )

    def write(self, files: dict[str, str]) -> None:
        """Write files by their absolute paths."""
        for name, text in files.items():
            path = self.machine.path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def command(self, name: str, script: str) -> None:
        """Install a command, a shell script."""
        self.write({f"/usr/bin/{name}": f"#!/bin/sh\n{script}\n"})
        self.machine.path(f"/usr/bin/{name}").chmod(0o755)

    def module(self, name: str, code: str) -> None:
        """Install a Python module for the children of the machine's Python."""
        path = self.modules / f"{name.replace('.', '/')}.py"
        for folder in path.relative_to(self.modules).parents:
            (self.modules / folder).mkdir(exist_ok=True)
            if str(folder) != ".":
                (self.modules / folder / "__init__.py").touch()
        path.write_text(code)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A machine of which nothing is known."""
    folder = tmp_path / "root"
    folder.mkdir()
    return Root(folder)


@pytest.fixture
def jetson(root: Root) -> Root:
    """An Orin Nano with JetPack 6.2, in its best mode, clocks held."""
    root.write(
        {
            "/etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
            "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081\n",
            "/proc/device-tree/model": f"{ORIN_NANO}\0",
            "/etc/nvpmodel.conf": NVPMODEL,
            "/var/lib/nvpmodel/status": "pmode:0002\n",
            f"{CPU}/scaling_min_freq": "1728000\n",
            f"{CPU}/scaling_max_freq": "1728000\n",
            f"{GPU}/min_freq": "1020000000\n",
            f"{GPU}/max_freq": "1020000000\n",
        }
    )
    return root


@pytest.fixture
def rtsp_server() -> Iterator[Callable[..., RtspServer]]:
    """Starts RTSP cameras; they are killed at the end."""
    if lacking := rtsp_server_lacks():
        pytest.skip(lacking)
    servers: list[RtspServer] = []

    def start(*options: str, password: str | None = None) -> RtspServer:
        servers.append(RtspServer(*options, password=password))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()
