"""Install, upgrade, an upgrade that fails, uninstall: real environments and daemons, below a root of its own.

Only systemctl is played; `scripts/test-install` does the same with a booted systemd.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
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
        environment = self._environment(**variables)
        return subprocess.run(
            command, cwd=self.source, env=environment, capture_output=True, text=True, timeout=300
        )

    def end_once_it_starts_the_new_version(self, number: signal.Signals) -> int:
        """Send `make install` and all its children a signal, as a terminal does; return make's status."""
        before = self.current
        with subprocess.Popen(
            ("make", "install"),
            cwd=self.source,
            env=self._environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as installing:
            old_pid = self.pid
            self.until(lambda: self.current != before and self.pid not in ("", old_pid))
            os.killpg(installing.pid, number)
            return installing.wait(30)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)

    def _environment(self, **variables: str) -> dict[str, str]:
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHON")}
        return environment | {
            "DESTDIR": str(self.root),
            "EDGE_APP_TEST_ROOT": str(self.root),
            "PATH": f"{self._commands}:/usr/sbin:/usr/bin:/sbin:/bin",
            **variables,
        }

    def set_version(self, version: str) -> None:
        path = self.source / "pyproject.toml"
        path.write_text(path.read_text().replace('version = "0.1.0"', f'version = "{version}"'))

    @property
    def current(self) -> str:
        return self.linked("current")

    def linked(self, name: str) -> str:
        return (self.root / "opt/edge-app" / name).readlink().name

    @property
    def versions(self) -> list[str]:
        return sorted(path.name for path in (self.root / "opt/edge-app/venvs").iterdir())

    @property
    def pid(self) -> str:
        file = self.root / "pid"
        return file.read_text() if file.exists() else ""

    @property
    def running(self) -> str:
        """The version of the daemon that runs; of one that starts right now it is not known yet."""
        with suppress(OSError):
            program = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")[0].decode()
            return program.removeprefix(f"{self.root}/opt/edge-app/venvs/").partition("/")[0]
        return ""


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
    units = it.root / "usr/local/lib/systemd/system"
    assert "/etc/edge-app/%i.yaml\n" in (units / "edge-app@.service").read_text()
    both = [
        sorted(file.name for file in (units / f"{unit}.service.d").glob("*"))
        for unit in ("edge-app", "edge-app@")
    ]
    assert both[0] == both[1], "the same drop-ins"
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
    assert it.run("make", "install").returncode == 0
    assert it.versions == sorted([old, new]), "and still does when the same version is installed again"
    assert it.pid != old_pid
    assert it.running == new
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


def test_an_interrupted_upgrade_goes_back(installation: Installation) -> None:
    it = installation
    assert it.run("make", "install").returncode == 0
    (it.root / "etc/edge-app/edge.yaml").write_text(CONFIG)
    assert it.run("systemctl", "start", "edge-app.service").returncode == 0
    good = it.current
    daemon = it.source / "edge_app/app/daemon.py"
    daemon.write_text(daemon.read_text() + "\nimport time\ntime.sleep(3600)\n")
    for number in (signal.SIGHUP, signal.SIGINT):  # the terminal has gone, Ctrl-C
        assert it.end_once_it_starts_the_new_version(number) != 0
        it.until(lambda: it.running == good)
        assert (it.current, it.linked("proven")) == (good, good)

    assert it.end_once_it_starts_the_new_version(signal.SIGKILL) != 0  # as a loss of power
    assert it.current != good, "nobody could do anything"
    again = it.run("make", "install", EDGE_APP_TEST_READY_S="5")
    assert again.returncode != 0
    assert f"back to {good}" in again.stdout
    assert f"{good} runs again" in again.stderr
    assert (it.current, it.running) == (good, good)


def test_installing_says_what_is_wrong_with_the_python(installation: Installation) -> None:
    done = installation.run("make", "install", PYTHON="/usr/bin/python2.7")
    assert done.returncode != 0
    assert "/usr/bin/python2.7 is no Python 3.10 to 3.13. Hint: " in done.stderr


def test_of_two_installations_at_a_time_the_second_is_refused(installation: Installation) -> None:
    home = installation.root / "opt/edge-app"
    home.mkdir(parents=True)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = installation.run("make", "install")
    assert second.returncode != 0
    assert "another installation is running. Hint: " in second.stderr
