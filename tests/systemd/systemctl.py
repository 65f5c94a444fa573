"""Stands for systemctl below a root: starts the installed daemon for real, and knows when it is READY.

`EDGE_APP_TEST_ROOT` is the root; the daemon's process id is kept there, and whether it was READY.
`EDGE_APP_TEST_READY_S` stands for `TimeoutStartSec=`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
from tests.service_manager import ServiceManager

ROOT = Path(os.environ["EDGE_APP_TEST_ROOT"])
PID, READY = ROOT / "pid", ROOT / "ready"
READY_S = float(os.environ.get("EDGE_APP_TEST_READY_S", "60"))


def running() -> int | None:
    with contextlib.suppress(OSError, ValueError):
        pid = int(PID.read_text())
        os.kill(pid, 0)
        return pid
    return None


def stop() -> None:
    if (pid := running()) is not None:
        os.kill(pid, signal.SIGTERM)
        while running() is not None:
            time.sleep(0.05)
    PID.unlink(missing_ok=True)
    READY.unlink(missing_ok=True)


def start(wait_s: float) -> int:
    (ROOT / "notify").unlink(missing_ok=True)
    manager = ServiceManager(ROOT)
    program, config = ROOT / "opt/edge-app/current/bin/edge-app", ROOT / "etc/edge-app/edge.yaml"
    command = [str(program), "run", "--config", str(config)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"STATE_DIRECTORY": str(ROOT / "var/lib/edge-app"), **manager.environment()}
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, signal.SIG_DFL
        )  # whoever asks may ignore them; services never do from their start
    with (ROOT / "daemon.log").open("ab") as log:
        daemon = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    PID.write_text(str(daemon.pid))
    deadline_s = time.monotonic() + wait_s
    while not manager.values("READY") and daemon.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.05)
    if not manager.values("READY"):
        return 1
    READY.touch()
    return 0


def main() -> int:
    match sys.argv[1:]:
        case ["list-units", "--all", "--plain", "--no-legend", "edge-app.service", *_]:
            if running():
                state = "active running" if READY.exists() else "activating start"
                sys.stdout.write(f"edge-app.service loaded {state} Edge video analytics\n")
        case ["show", "-p", "MainPID", "--value", _]:
            sys.stdout.write(f"{running() or 0}\n")
        case ["restart" | "start", _]:
            stop()
            return start(READY_S)
        case ["--no-block", "restart", _]:
            stop()
            start(0.0)
        case ["disable", "--now", _]:
            stop()
        case ["daemon-reload"]:
            pass
        case unknown:
            sys.stderr.write(f"not known here: {unknown}\n")
            return 2
    return 0


# The daemon outlives this process, whose threads are of no further use.
status = main()
sys.stdout.flush()
os._exit(status)
