"""Install, upgrade, an upgrade that fails, uninstall: real environments and daemons, below a root of its own.

Only systemctl is played; `scripts/test-install` does the same with a booted systemd. In the second half the
daemon is played too, and nothing is fetched for its environment: it is about many states of the machine.
"""

from __future__ import annotations

import fcntl
import os
import re
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
        path.write_text(re.sub('(?m)^version = ".*"$', f'version = "{version}"', path.read_text()))

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
        return self.pid_of("edge")

    def pid_of(self, name: str) -> str:
        """The process id of the daemon of `NAME.yaml`."""
        file = self.root / "manager" / name / "pid"
        return file.read_text() if file.exists() else ""

    @property
    def running(self) -> str:
        """The version of the daemon that runs; of one that starts right now it is not known yet."""
        return self.running_as("edge")

    def running_as(self, name: str) -> str:
        with suppress(OSError):
            program = Path(f"/proc/{self.pid_of(name)}/cmdline").read_bytes().split(b"\0")[0].decode()
            return program.removeprefix(f"{self.root}/opt/edge-app/venvs/").partition("/")[0]
        return ""


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    yield made
    made.run("systemctl", "stop", "edge-app.service", "edge-app@*.service")


def test_from_the_first_installation_to_nothing_left(installation: Installation) -> None:
    it = installation
    config = it.root / "etc/edge-app/edge.yaml"
    first = it.run("make", "install", PACKAGES="wheel")
    assert first.returncode == 0, first.stderr
    assert "Now edit" in first.stdout
    assert it.pid == "", "a first installation starts nothing"
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


def test_a_word_misspelt_costs_nothing_that_was_to_be_kept(installation: Installation) -> None:
    kept = [installation.root / "etc/edge-app/edge.yaml", installation.root / "var/lib/edge-app/outbox.db"]
    for file in kept:
        file.parent.mkdir(parents=True)
        file.write_text("precious")
    for words in ("yes", "all", "Config State", "config,stat"):
        done = installation.run("make", "uninstall", f"KEEP={words}")
        assert done.returncode != 0
        assert "KEEP names" in done.stderr
        assert all(file.exists() for file in kept)
    assert installation.run("make", "uninstall", "KEEP=config,state").returncode == 0
    assert all(file.exists() for file in kept)


def test_an_installation_that_fails_leaves_no_half_of_itself(installation: Installation) -> None:
    """The disk may be full, and it is the one that the outbox of the running version is on."""
    done = installation.run("make", "install", PACKAGES="there-is-no-such-package-as-this-one")
    assert done.returncode != 0
    assert "the packages could not be installed. Hint: " in done.stderr
    assert not list((installation.root / "opt/edge-app/venvs").iterdir())


def test_of_two_installations_at_a_time_the_second_is_refused(installation: Installation) -> None:
    home = installation.root / "opt/edge-app"
    home.mkdir(parents=True)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = installation.run("make", "install")
    assert second.returncode != 0
    assert "another installation is running. Hint: " in second.stderr


PLAYED_MAKE_VENV = """#!/bin/sh
set -e
"$1" -m venv --without-pip --system-site-packages "$2"
for packages in "$2"/lib/python3*/site-packages; do touch "$packages/pip.py"; done
{ echo "#!$2/bin/python"; cat "$(dirname "$0")/../edge_app/played.py"; } >"$2/bin/edge-app"
chmod +x "$2/bin/edge-app"
"""
PLAYED_DAEMON = """
import os, signal, socket, sys, time
from pathlib import Path

def check(path):
    if not path.exists() or "unknown" in path.read_text():
        print(f"{path}: not good", file=sys.stderr)
        sys.exit(78)

match sys.argv[1:]:
    case ["check-config", path]:
        check(Path(path))
    case ["init", "--output", path]:
        Path(path).write_text("made by init")
    case ["run", "--config", path]:
        check(Path(path))
        START
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
        signal.pause()
"""


class Played(Installation):
    """An installation whose daemon is played."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name in ("edge_app", "configs"):
            shutil.rmtree(self.source / name)
            (self.source / name).mkdir()
        (self.source / "scripts/make-venv").write_text(PLAYED_MAKE_VENV)
        self.offer("0.1.0")

    def offer(self, version: str, start: str = "pass") -> None:
        """Have the checkout be of a version, whose daemon does what is given before it is READY."""
        self.set_version(version)
        (self.source / "edge_app/played.py").write_text(PLAYED_DAEMON.replace("START", start))

    def install(self, **variables: str) -> subprocess.CompletedProcess[str]:
        done = self.run("make", "install", **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def configure(self, name: str, text: str = "good") -> None:
        (self.root / f"etc/edge-app/{name}.yaml").write_text(text)

    def systemctl(self, *words: str) -> bool:
        return self.run("systemctl", *words).returncode == 0

    def fail(self, name: str, status: int) -> None:
        """Have a daemon be failed, as with a status that the played systemctl does not come to by itself."""
        folder = self.root / "manager" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "failed").write_text(str(status))

    def command(self, name: str, script: str) -> None:
        """Put a command before the system's."""
        (self._commands / name).write_text(f"#!/bin/sh\n{script}")
        (self._commands / name).chmod(0o755)

    @property
    def unit(self) -> Path:
        return self.root / "usr/local/lib/systemd/system/edge-app.service"


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    """Version 0.1.0 runs, is enabled and proven."""
    made = Played(tmp_path)
    made.install()
    assert made.systemctl("enable", "--now", "edge-app.service")
    made.install()
    assert made.linked("proven") == made.current
    yield made
    made.run("systemctl", "stop", "edge-app.service", "edge-app@*.service")


def test_an_instance_that_was_started_by_mistake_does_not_hold_up_an_upgrade(played: Played) -> None:
    assert not played.systemctl("start", "edge-app@nroth.service")
    played.offer("0.2.0")
    played.install()
    assert played.current.startswith("0.2.0")
    assert played.running == played.linked("proven") == played.current
    assert played.pid_of("nroth") == "" or played.running_as("nroth") == ""


def test_what_had_failed_is_tried_again_and_is_no_reason_to_go_back(played: Played) -> None:
    played.configure("north", "unknown")
    assert not played.systemctl("enable", "--now", "edge-app@north.service")
    played.offer("0.2.0")
    done = played.install()
    assert "edge-app@north.service had failed before, and does not become READY now either" in done.stderr
    assert played.running == played.linked("proven") == played.current
    assert played.current.startswith("0.2.0")
    played.configure("north")
    played.offer("0.3.0")
    assert "failed" not in played.install().stderr
    assert played.running == played.running_as("north") == played.current


def test_a_version_is_not_proven_where_all_had_failed_and_still_do(played: Played) -> None:
    good = played.current
    played.configure("edge", "broken once it runs")
    (played.root / "trouble").touch()
    start = f'os.path.exists("{played.root / "trouble"}") and sys.exit(78)'
    played.offer("0.2.0", start)
    played.systemctl("stop", "edge-app.service")
    played.fail("edge", 78)
    done = played.run("make", "install")
    assert done.returncode != 0
    assert "edge-app.service had failed before, and does not become READY now either" in done.stderr
    assert played.current.startswith("0.2.0"), "with the version before it does not run either"
    assert (played.linked("proven"), played.linked("before")) == (good, good)
    assert played.run("make", "install").returncode != 0
    assert played.current.startswith("0.2.0"), "nor is it a reason the next time"
    (played.root / "trouble").unlink()
    assert "runs" in played.install().stdout
    assert played.running == played.linked("proven") == played.current


def test_a_version_that_fails_after_a_loss_of_power_is_left_although_it_failed_before(played: Played) -> None:
    good = played.current
    played.offer("0.2.0", "time.sleep(3600)")
    played.end_once_it_starts_the_new_version(signal.SIGKILL)
    bad = played.current
    played.systemctl("stop", "edge-app.service")
    played.fail("edge", 78)  # as the machine came up again
    played.run("make", "install", EDGE_APP_TEST_READY_S="1")
    assert bad != good
    assert played.current == good
    assert played.running == good


@pytest.mark.parametrize(("enabled", "status"), [(True, 1), (True, 9), (False, 78)])
def test_what_somebody_has_stopped_is_not_started(played: Played, enabled: bool, status: int) -> None:
    """Also where the stop failed: it took too long (SIGKILL), or ended with a status."""
    played.systemctl("stop", "edge-app.service")
    if not enabled:
        played.systemctl("disable", "edge-app.service")
    played.fail("edge", status)
    played.offer("0.2.0")
    assert "Now edit" in played.install().stdout
    assert played.pid == ""


def test_what_was_uninstalled_when_it_had_failed_is_not_started_by_the_next_installation(
    played: Played,
) -> None:
    for _ in range(2):
        played.systemctl("stop", "edge-app.service")
        played.fail("edge", 78)
        assert played.run("make", "uninstall", KEEP="").returncode == 0
        assert not (played.root / "manager/edge/failed").exists()
    played.fail("edge", 78)  # an older version's uninstall left it
    (played.root / "manager/edge/enabled").touch()
    assert "Now edit" in played.install().stdout
    assert played.pid == ""


def test_a_disk_that_is_full_costs_no_unit_file(played: Played) -> None:
    """What cannot be written is not written by half, and going back needs no room for what is there."""
    good, text = played.current, played.unit.read_text()
    offered = played.source / "systemd/edge-app.service"
    played.offer("0.2.0")
    offered.write_text(text + "# another version\n")
    played.install()  # makes its environment
    new = played.current
    played.offer("0.1.0")
    offered.write_text(text)
    played.install()
    assert (played.current, played.unit.read_text()) == (good, text)
    played.offer("0.2.0")
    offered.write_text(text + "# another version\n")
    done = played.run("prlimit", "--fsize=4096", "make", "install")  # of this and more every file is
    assert done.returncode != 0
    assert f"version {new} is there already" in done.stdout
    assert f"interrupted: back to {good}" in done.stderr
    assert played.unit.read_text() == text
    played.until(lambda: played.running == good)
    assert not list(played.root.rglob("*.new"))


def test_going_back_that_fails_is_told(played: Played) -> None:
    rules = played.root / "usr/local/lib/udev/rules.d"
    good = played.current
    for start, what in (("pass", "interrupted"), ("sys.exit(1)", "the new version did not become READY")):
        played.offer("0.2.0", start)
        (played.source / "systemd/udev.rules").write_text("# another version\n")
        if start == "pass":
            shutil.rmtree(rules)
            rules.write_text("a folder that is none, so that nothing can be written there")
        else:  # what fails only on the way back
            rules.unlink()
            there = rules / "60-edge-app.rules"
            played.command(
                "mv", f'case $* in *"{there}"*) [ ! -e "{there}" ] || exit 1 ;; esac; exec /bin/mv "$@"\n'
            )
        done = played.run("make", "install")
        assert done.returncode != 0
        assert f"{what}, and {good} could not be put back whole. Hint: " in done.stderr
        assert "back to" not in done.stdout + done.stderr


def test_a_version_that_was_removed_by_half_is_made_anew(played: Played) -> None:
    first = played.current
    played.offer("0.2.0")
    played.install()
    played.command(
        "rm",
        """case $* in *-rf*/venvs/*) if [ -d "$2/bin" ]; then
            /bin/rm -rf "$2/bin"
            kill -INT $PPID
            exit 130
        fi ;; esac
        exec /bin/rm "$@"
        """,
    )
    played.offer("0.3.0")
    assert played.run("make", "install").returncode != 0
    assert played.running == played.current
    assert first in played.versions
    played.command("rm", 'exec /bin/rm "$@"\n')
    played.offer("0.1.0")
    assert "making version" in played.install().stdout
    assert played.running == played.current == first


def test_an_uninstallation_that_is_cut_off_leaves_no_version_that_seems_whole(played: Played) -> None:
    played.command("rm", 'case $* in -rf*) kill -KILL $PPID; sleep 9 ;; *) exec /bin/rm "$@" ;; esac\n')
    assert played.run("make", "uninstall").returncode != 0
    assert played.versions
    assert not list(played.root.glob("opt/edge-app/venvs/*/complete"))


def test_the_version_before_stays_where_the_power_failed_before_the_new_one_was_proven(
    played: Played,
) -> None:
    good = played.current
    played.offer("0.2.0", "time.sleep(2)")
    played.end_once_it_starts_the_new_version(signal.SIGKILL)
    assert played.systemctl("restart", "edge-app.service"), "the machine is up again"
    new = played.running
    assert (played.linked("proven"), new != good) == (good, True)
    played.install()
    assert (played.linked("proven"), played.linked("before")) == (new, good)
    assert played.versions == sorted([good, new])


@pytest.mark.parametrize(("before", "asked"), [("0", "1"), ("1", "0")])
def test_the_drop_in_for_csi_cameras_goes_back_too(played: Played, before: str, asked: str) -> None:
    played.install(CSI=before)
    dropped = [played.unit.with_name(f"{unit}.service.d") / "csi.conf" for unit in ("edge-app", "edge-app@")]
    assert [file.exists() for file in dropped] == [before == "1"] * 2
    played.offer("0.2.0", "sys.exit(1)")
    done = played.run("make", "install", CSI=asked)
    assert "runs again" in done.stderr
    assert [file.exists() for file in dropped] == [before == "1"] * 2


def test_a_configuration_that_no_daemon_runs_with_is_no_reason_to_refuse_a_version(played: Played) -> None:
    played.systemctl("disable", "--now", "edge-app.service")
    played.configure("edge", "unknown")
    played.configure("north")
    assert played.systemctl("enable", "--now", "edge-app@north.service")
    played.offer("0.2.0")
    played.install()
    assert played.running_as("north") == played.current
    assert played.current.startswith("0.2.0")
    played.configure("north", "unknown")
    played.offer("0.3.0")
    assert "north.yaml, so nothing was changed" in played.run("make", "install").stderr
