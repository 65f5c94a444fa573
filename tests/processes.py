"""Runs edge-app as a user does: a process of its own, in whatever folder, with its words and exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import edge_app

_WHERE = str(Path(edge_app.__file__).parents[1])
TIMEOUT_S = 60.0


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment, changed, in which the edge_app under test is found."""
    path = os.pathsep.join(filter(None, [_WHERE, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "200", **changes}


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of edge-app with these arguments."""
    return [sys.executable, "-m", "edge_app", *map(str, arguments)]


def edge_app_says(
    *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run edge-app to its end. No end of it ever shows a traceback."""
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(**(env or {})),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def children_of(pid: int) -> Sequence[int]:
    """Return the processes that a process has started and that still run."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
