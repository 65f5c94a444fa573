"""Install, upgrade, an upgrade that fails, uninstall: real environments and daemons, below a root of its own.

Only systemctl is played; `scripts/test-install` does the same with a booted systemd.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2]
SYSTEM_PYTHON = "/usr/bin/python3"
CONFIG = """
inference: {backend: onnxruntime}
mqtt:
  uri: mqtt://127.0.0.1:1
  delivery: {detections: durable}
cameras:
  yard: {uri: 'scene://street?seed=1&size=320x192&fps=10'}
"""


def lacks() -> str | None:
    """Say what this machine lacks for an installation; None: nothing."""
    if os.geteuid() != 0:
        return "installing needs root"
    if shutil.which("systemd-sysusers") is None:
        return "systemd-sysusers is not installed (apt install systemd)"
    probe = subprocess.run([SYSTEM_PYTHON, "-c", "import cv2, venv, ensurepip"], capture_output=True, cwd="/")
    return None if probe.returncode == 0 else "the system's Python lacks python3-opencv or python3-venv (apt)"


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(lacks() is not None, reason=f"{lacks()}"),
]


class Installation:
    """A copy of this checkout, and the root that it is installed below."""

    def __init__(self, folder: Path) -> None:
        self.source, self.root = folder / "source", folder / "root"
        for name in ("edge_app", "configs", "models", "systemd", "scripts"):
            shutil.copytree(SOURCE / name, self.source / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE", "Makefile"):
            shutil.copy(SOURCE / name, self.source)
        (self.root / "run/systemd/system").mkdir(parents=True)
        self._commands = folder / "bin"
        self._commands.mkdir()
        systemctl = self._commands / "systemctl"
        systemctl.write_text(
            f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("systemctl.py")} "$@"\n'
        )
        systemctl.chmod(0o755)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHON")}
        environment |= {
            "DESTDIR": str(self.root),
            "EDGE_APP_TEST_ROOT": str(self.root),
            "PATH": f"{self._commands}:/usr/sbin:/usr/bin:/sbin:/bin",
            **variables,
        }
        return subprocess.run(
            command, cwd=self.source, env=environment, capture_output=True, text=True, timeout=300
        )

    def set_version(self, version: str) -> None:
        path = self.source / "pyproject.toml"
        path.write_text(path.read_text().replace('version = "0.1.0"', f'version = "{version}"'))

    @property
    def current(self) -> str:
        return (self.root / "opt/edge-app/current").readlink().name

    @property
    def versions(self) -> list[str]:
        return sorted(path.name for path in (self.root / "opt/edge-app/venvs").iterdir())

    @property
    def pid(self) -> str:
        return (self.root / "pid").read_text()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    yield made
    made.run("systemctl", "disable", "--now", "edge-app.service")


def test_from_the_first_installation_to_nothing_left(installation: Installation) -> None:
    it = installation
    config = it.root / "etc/edge-app/edge.yaml"
    first = it.run("make", "install", PACKAGES="wheel")
    assert first.returncode == 0, first.stderr
    assert "Now edit" in first.stdout
    assert not (it.root / "pid").exists(), "a first installation starts nothing"
    assert config.stat().st_mode & 0o777 == 0o640
    python = it.root / "opt/edge-app/current/bin/python"
    told = it.run(str(python), "-c", "import cv2, numpy; print(cv2.__file__, numpy.__file__)")
    assert it.run(str(python), "-c", "import wheel").returncode == 0
    assert told.stdout.count("/usr/lib/python3/dist-packages/") == 2, "OpenCV and its NumPy are the system's"

    config.write_text(CONFIG)
    assert it.run("systemctl", "start", "edge-app.service").returncode == 0
    old, old_pid = it.current, it.pid
    again = it.run("make", "install")
    assert again.returncode == 0, again.stderr
    assert (it.current, it.versions) == (old, [old]), "same content, same choice: the same version"

    it.set_version("0.2.0")
    upgrade = it.run("make", "install")
    assert upgrade.returncode == 0, upgrade.stderr
    new = it.current
    assert new.startswith("0.2.0-")
    assert it.versions == sorted([old, new]), "the one before stays"
    assert it.pid != old_pid
    assert config.read_text() == CONFIG
    (outbox,) = (it.root / "var/lib/edge-app/outbox").glob("*.db")
    assert outbox.stat().st_size > 0

    daemon = it.source / "edge_app/app/daemon.py"
    daemon.write_text(daemon.read_text() + '\nraise RuntimeError("a version that does not work")\n')
    broken = it.run("make", "install")
    assert broken.returncode != 0
    assert f"the new version did not become READY: back to {new}" in broken.stdout
    assert f"{new} runs again" in broken.stderr
    assert it.current == new
    assert Path(f"/proc/{it.pid}").exists()

    config.write_text(CONFIG + "unknown: 1\n")
    refused = it.run("make", "install")
    assert refused.returncode != 0
    assert "the new version cannot use" in refused.stderr
    assert "unknown" in refused.stderr
    assert it.current == new
    config.write_text(CONFIG)

    assert it.run("make", "uninstall").returncode == 0
    assert config.exists()
    assert outbox.exists()
    assert not (it.root / "opt/edge-app").exists()
    assert it.run("make", "uninstall", KEEP="").returncode == 0
    left = [path for path in it.root.rglob("*edge-app*") if not path.is_dir() or any(path.iterdir())]
    assert left == []
    assert "edge-app" not in (it.root / "etc/passwd").read_text()


def test_installing_says_what_is_wrong_with_the_python(installation: Installation) -> None:
    done = installation.run("make", "install", PYTHON="/usr/bin/python2.7")
    assert done.returncode != 0
    assert "/usr/bin/python2.7 is no Python 3.10 to 3.13. Hint: " in done.stderr
