"""How soon `edge-app --help` answers, beside a Python that does nothing."""

from __future__ import annotations

import subprocess
import sys

from edge_app.bench.measure import BenchResult, measure

HELP = "edge-app --help"
BARE = "python -c pass"


def run(rounds: int = 30) -> BenchResult:
    """Time both as processes of their own, `rounds` times each."""
    ways = {
        HELP: lambda: _call("-m", "edge_app", "--help"),
        BARE: lambda: _call("-c", "pass"),
    }
    return measure("start-up of the command line", ways, rounds=rounds, references=[BARE])


def _call(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
