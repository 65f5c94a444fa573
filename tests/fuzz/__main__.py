"""The long form: `python -m tests.fuzz SECONDS [TARGET ...]`, shared out among the targets.

Each target is a process of its own, with a bound on its memory, so that a crash or a bomb is a finding too.
Half of its time goes to hypothesis, half to atheris, which follows the coverage, where that is installed
(`pip install atheris`). Inputs that show a defect are kept in `build/fuzz`.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS

KEPT = Path("build/fuzz")
GRACE_S = 120.0
"""For the start of a process, and one input that takes too long."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(t.name for t in TARGETS))
    options = parser.parse_args()
    known = [target.name for target in TARGETS]
    names = options.targets or known
    if unknown := set(names) - set(known):
        parser.error(f"there is no target {', '.join(unknown)}; there are {', '.join(known)}")
    ways = ["hypothesis", *(["atheris"] if importlib.util.find_spec("atheris") else [])]
    print(f"{len(names)} targets, {options.seconds:g} s, by {' and '.join(ways)}", flush=True)  # noqa: T201
    KEPT.mkdir(parents=True, exist_ok=True)
    share_s = options.seconds / len(names) / len(ways)
    failed = [f"{name} ({way})" for name in names for way in ways if not _passes(name, way, share_s)]
    print("defects: " + (", ".join(failed) or "none"))  # noqa: T201
    return 1 if failed else 0


def _passes(name: str, way: str, seconds: float) -> bool:
    command = [sys.executable, "-m", "tests.fuzz.one", name, way, f"{seconds:.1f}", str(KEPT)]
    try:
        status = subprocess.run(command, timeout=seconds + GRACE_S, check=False).returncode
    except subprocess.TimeoutExpired:
        status = None
    words = "ok" if status == 0 else "hangs" if status is None else f"ended with {status}"
    print(f"{name}, {way}: {words}", flush=True)  # noqa: T201
    return status == 0


if __name__ == "__main__":
    sys.exit(main())
