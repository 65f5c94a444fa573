"""The demo's child processes: none of them outlives it, however it ends.

A child first runs this module, which asks the kernel for SIGTERM when its parent dies (prctl(2),
PR_SET_PDEATHSIG) and then becomes the command. Asked for here and not between fork and exec, because Python
must not run there in a process that has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
STOP_TIMEOUT_S = 6.0
"""The daemon ends within 5 s."""

_ROOT = Path(__file__).parents[2]


def start_child(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command in the folder of `log`, which gets its output."""
    tied = [sys.executable, "-m", "edge_app.demo.child", str(os.getpid()), *command]
    with log.open("wb") as output:
        return subprocess.Popen(
            tied,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Away from the user's folder, whose modules must not be taken for those of the same name.
            cwd=log.parent,
            env=_environment(),
            start_new_session=True,
        )


def end_child(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, then insist."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment() -> dict[str, str]:
    """Return an environment in which edge_app is found, also in a checkout that is not installed."""
    if _ROOT.name in {"site-packages", "dist-packages"}:
        return dict(os.environ)
    path = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def _become(parent: int, command: Sequence[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:  # otherwise it died before it could be watched
        os.execvp(command[0], list(command))  # noqa: S606 - this process becomes the command


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
