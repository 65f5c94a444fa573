"""Stands for systemctl below a root: starts the installed daemons for real, and knows what became of them.

`EDGE_APP_TEST_ROOT` is the root. For the daemon of `NAME.yaml` its `manager/NAME` tells the process id, if it
was READY, if it is enabled, and in `failed` the status it ended with. `EDGE_APP_TEST_READY_S` stands for
`TimeoutStartSec=`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
from tests.service_manager import ServiceManager

ROOT = Path(os.environ["EDGE_APP_TEST_ROOT"])
READY_S = float(os.environ.get("EDGE_APP_TEST_READY_S", "60"))
EX_CONFIG = 78  # RestartPreventExitStatus=


class Unit:
    """What is known of one of edge-app.service and edge-app@NAME.service."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        _, _, instance = unit.removesuffix(".service").partition("@")
        self.name = instance or "edge"
        self.folder = ROOT / "manager" / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pid, self.ready = self.folder / "pid", self.folder / "ready"
        self.failed, self.enabled = self.folder / "failed", self.folder / "enabled"

    def running(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            pid = int(self.pid.read_text())
            os.kill(pid, 0)
            return pid
        return None

    def load(self) -> str:
        file = self.unit.replace(f"@{self.name}.", "@.")
        return "loaded" if (ROOT / "usr/local/lib/systemd/system" / file).exists() else "not-found"

    def state(self) -> str:
        if self.running() is not None:
            return "active running" if self.ready.exists() else "activating start"
        return "failed failed" if self.failed.exists() else ""

    def stop(self) -> None:
        if (pid := self.running()) is not None:
            os.kill(pid, signal.SIGTERM)
            while self.running() is not None:
                time.sleep(0.05)
        self.pid.unlink(missing_ok=True)
        self.ready.unlink(missing_ok=True)

    def start(self, wait_s: float) -> bool:
        self.failed.unlink(missing_ok=True)
        (self.folder / "notify").unlink(missing_ok=True)
        manager = ServiceManager(self.folder)
        program, config = ROOT / "opt/edge-app/current/bin/edge-app", ROOT / f"etc/edge-app/{self.name}.yaml"
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment |= {"STATE_DIRECTORY": str(ROOT / "var/lib/edge-app"), **manager.environment()}
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(
                number, signal.SIG_DFL
            )  # whoever asks may ignore them; services never do from their start
        with (ROOT / "daemon.log").open("ab") as log:
            daemon = subprocess.Popen(
                [str(program), "run", "--config", str(config)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid.write_text(str(daemon.pid))
        deadline_s = time.monotonic() + wait_s
        while not manager.values("READY") and daemon.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.05)
        if manager.values("READY"):
            self.ready.touch()
            return True
        if daemon.poll() == EX_CONFIG:
            self.failed.write_text(str(EX_CONFIG))
        return False


def known() -> list[Unit]:
    names = sorted(folder.name for folder in (ROOT / "manager").glob("*"))
    return [Unit("edge-app.service" if name == "edge" else f"edge-app@{name}.service") for name in names]


def matching(patterns: list[str]) -> list[Unit]:
    return [unit for unit in known() if any(fnmatch(unit.unit, pattern) for pattern in patterns)]


def restart(units: list[Unit], wait_s: float) -> int:
    for unit in units:
        unit.stop()
    ready = [unit.start(wait_s) for unit in units]  # each, also after one that failed
    return 0 if all(ready) else 1


def answer(words: list[str]) -> int | None:
    """Answer a question; None: it is none."""
    match words:
        case ["list-units", "--all", "--plain", "--no-legend", *patterns]:
            for unit in matching(patterns):
                if state := unit.state():
                    sys.stdout.write(f"{unit.unit} {unit.load()} {state} Edge video analytics\n")
        case ["show", "-p", "MainPID", "--value", name]:
            sys.stdout.write(f"{Unit(name).running() or 0}\n")
        case ["show", "-p", "ExecMainStatus", "--value", name]:
            failed = Unit(name).failed
            sys.stdout.write(f"{failed.read_text() if failed.exists() else 0}\n")
        case ["is-active", "--quiet", name]:
            return 0 if Unit(name).state().startswith("active ") else 3
        case ["is-enabled", "--quiet", name]:
            return 0 if Unit(name).enabled.exists() else 1
        case _:
            return None
    return 0


def act(words: list[str]) -> int:
    match words:
        case ["enable", "--now", name]:
            Unit(name).enabled.touch()
            return restart([Unit(name)], READY_S)
        case ["restart" | "start", *names]:
            return restart([Unit(name) for name in names], READY_S)
        case ["--no-block", "restart", *names]:
            restart([Unit(name) for name in names], 0.0)
        case ["stop" | "disable" | "reset-failed" as verb, *patterns]:
            for unit in matching([pattern.replace("@.", "@*.") for pattern in patterns]):
                if verb == "stop" or "--now" in patterns:
                    unit.stop()
                if verb != "stop":
                    (unit.enabled if verb == "disable" else unit.failed).unlink(missing_ok=True)
        case ["daemon-reload"]:
            pass
        case unknown:
            sys.stderr.write(f"not known here: {unknown}\n")
            return 2
    return 0


# The daemons outlive this process, whose threads are of no further use.
status = answer(sys.argv[1:])
status = act(sys.argv[1:]) if status is None else status
sys.stdout.flush()
os._exit(status)
