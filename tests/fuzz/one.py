"""One target, one way, for so many seconds; started by `python -m tests.fuzz`."""

from __future__ import annotations

import logging
import random
import resource
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

MEMORY_BYTES = 6 << 30
"""Of address space, of which libraries reserve much."""
SLOWEST_S = 10.0
ROUND = 2000


def main() -> None:
    name, way, seconds, kept = sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4])
    logging.disable(logging.CRITICAL)
    if way == "atheris":
        _by_atheris(name, seconds, kept)
    else:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        _by_hypothesis(name, seconds, kept)


def _target(name: str) -> Any:
    targets = import_module("tests.fuzz.targets").TARGETS
    return next(target for target in targets if target.name == name)


def _by_hypothesis(name: str, seconds: float, kept: Path) -> None:
    inputs = import_module("tests.fuzz.mutations").inputs
    target, deadline_s, count = _target(name), time.monotonic() + seconds, 0

    def once(data: bytes) -> None:
        nonlocal count
        count += 1
        (kept / f"{name}.last").write_bytes(data)
        began_s = time.thread_time()
        target(data)
        taken_s = time.thread_time() - began_s
        assert taken_s < SLOWEST_S, f"{taken_s:.1f} s for {len(data)} bytes"

    while time.monotonic() < deadline_s:
        wanted: Any = settings(
            max_examples=ROUND,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        given_inputs: Any = given(inputs(target))
        reseeded: Any = seed(random.getrandbits(64))
        reseeded(wanted(given_inputs(once)))()
    print(f"{name}: {count} inputs")  # noqa: T201


def _by_atheris(name: str, seconds: float, kept: Path) -> None:
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["edge_app"]):
        target = _target(name)
    corpus = kept / f"corpus-{name}"
    corpus.mkdir(exist_ok=True)
    for number, example in enumerate(target.corpus):
        (corpus / f"right-{number}").write_bytes(example)
    options = [f"-max_total_time={max(1, round(seconds))}", f"-timeout={SLOWEST_S:.0f}", "-rss_limit_mb=3072"]
    options += ["-max_len=65536", "-verbosity=0", "-print_final_stats=1", f"-artifact_prefix={kept}/{name}-"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
