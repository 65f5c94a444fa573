"""What a soak wrote: one JSON object a line, by `kind`.

`start` says what runs, `sample` what the daemon costs at a moment, `fault` what was done to it, `rate` how
many frames of a camera were captured in a stretch of time, `end` how it ended. `t_s` counts from the start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]

GATE = "gate"
"""The camera behind a server that is killed and frozen."""


@dataclass(frozen=True)
class Soak:
    """A run, read from its file.

    Attributes:
        start: What ran.
        t_s: Times of the samples, seconds from the start, shape (N,).
        rss_bytes: Resident memory of the daemon, (N,).
        threads: Its threads, (N,).
        descriptors: Its open descriptors, (N,).
        cpu_s: Processor time that it has used, (N,).
        faults: What was done to it, in order: `t_s`, `fault`, `held_s`.
        rates: `t_s` (the middle), `seconds` and `frames` by camera.
        end: How it ended; None while it still runs, or if its harness was killed.
    """

    start: Mapping[str, Any]
    t_s: Series
    rss_bytes: Series
    threads: Series
    descriptors: Series
    cpu_s: Series
    faults: Sequence[Mapping[str, Any]]
    rates: Sequence[Mapping[str, Any]]
    end: Mapping[str, Any] | None

    def fps(self, camera: str) -> tuple[Series, Series]:
        """Return times and frames a second of a camera."""
        times = [rate["t_s"] for rate in self.rates]
        values = [rate["frames"].get(camera, 0) / rate["seconds"] for rate in self.rates]
        return np.array(times, np.float64), np.array(values, np.float64)


def read_soak(path: Path) -> Soak:
    """Read a run; one that still goes on may be read too, but for a last line that is not complete."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return soak_of([json.loads(line) for line in lines])


def soak_of(records: Sequence[Mapping[str, Any]]) -> Soak:
    """Return a run from its records."""
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        by_kind.setdefault(record["kind"], []).append(record)
    samples = by_kind.get("sample", [])

    def column(name: str) -> Series:
        return np.array([sample[name] for sample in samples], np.float64)

    return Soak(
        start=by_kind["start"][0],
        **{name: column(name) for name in ("t_s", "rss_bytes", "threads", "descriptors", "cpu_s")},
        faults=by_kind.get("fault", []),
        rates=by_kind.get("rate", []),
        end=by_kind["end"][-1] if "end" in by_kind else None,
    )
