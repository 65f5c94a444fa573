"""How candidates are timed side by side, and how the result is shown."""

from __future__ import annotations

import gc
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

WARM_UP_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class BenchRow:
    """How long one way took: milliseconds a call, and the median of its ratios to the reference's round."""

    name: str
    median_ms: float
    p10_ms: float
    p90_ms: float
    ratio: float


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What one benchmark measured; the ratio of `reference` is 1."""

    title: str
    reference: str
    rounds: int
    rows: tuple[BenchRow, ...]
    environment: Mapping[str, str]

    def row(self, name: str) -> BenchRow:
        """Return the row of that name. Raises KeyError."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return asdict(self)

    def table(self) -> str:
        """Return the result as a table for people, in Markdown."""
        width = max(len("way"), *(len(row.name) for row in self.rows))
        lines = [
            f"{self.title} ({self.rounds} rounds; ratio to: {self.reference})",
            "",
            f"| {'way':{width}} | median ms |   p10 ms |   p90 ms | ratio |",
            f"| {'-' * width} | --------: | -------: | -------: | ----: |",
        ]
        lines += [
            f"| {row.name:{width}} | {row.median_ms:9.3f} | {row.p10_ms:8.3f} | {row.p90_ms:8.3f} "
            f"| {row.ratio:5.2f} |"
            for row in self.rows
        ]
        lines += ["", ", ".join(f"{key}: {value}" for key, value in self.environment.items())]
        return "\n".join(lines)


def measure(
    title: str,
    ways: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    references: Sequence[str],
    warm_up_rounds: int = WARM_UP_ROUNDS,
) -> BenchResult:
    """Time `ways` in turns: each round calls each way once, in an order of its own.

    Args:
        title: What is measured.
        ways: Name to call. What a call returns is kept until the same way's next call, as a pipeline would.
        rounds: How often each is timed, after a few calls that are not.
        references: Names among which the fastest (by median) is the reference of the ratios.
        warm_up_rounds: Rounds before those that count.
    """
    names = list(ways)
    order = Random(0)  # noqa: S311 - no secret: each way must meet every other one's caches
    times_ms: dict[str, list[float]] = {name: [] for name in names}
    held: dict[str, object] = {}
    with _no_collection():
        for number in range(-warm_up_rounds, rounds):
            for name in order.sample(names, len(names)):
                started = time.perf_counter_ns()
                held[name] = ways[name]()
                elapsed_ms = (time.perf_counter_ns() - started) / 1e6
                if number >= 0:
                    times_ms[name].append(elapsed_ms)
    columns = {name: np.array(values) for name, values in times_ms.items()}
    reference = min(references, key=lambda name: float(np.median(columns[name])))
    rows = []
    for name, column in columns.items():
        p10, median, p90 = (float(value) for value in np.percentile(column, (10, 50, 90)))
        rows.append(BenchRow(name, median, p10, p90, float(np.median(column / columns[reference]))))
    return BenchResult(title, reference, rounds, tuple(rows), environment())


def environment() -> dict[str, str]:
    """Return what a measurement depends on: processor, load, and versions."""
    known = {
        "cpu": _cpu_name(),
        "cores": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    for module in ("cv2", "onnxruntime"):
        if module in sys.modules:
            known[module] = sys.modules[module].__version__
    return known


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector out of the measurement."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
