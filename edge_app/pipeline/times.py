"""How long frames take, as distributions that cost a frame little more than an append."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_app.messages import Timings

T = TypeVar("T")

BOUNDS_S = (
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
)  # fmt: skip
"""Upper bounds, inclusive: fine where times usually lie, from a GPU's stage to a model on a slow CPU."""

STAGES = ("capture", "waiting", "preprocess", "inference", "postprocess")
"""The stages of `Timings`, in the order in which a frame walks them."""

FOLD_ROWS = 256
"""So many rows are counted at once: the memory that waits is bounded, and counting takes 0.1 ms."""

_BOUNDS_MS = np.array(BOUNDS_S) * 1e3


@dataclass(frozen=True, slots=True)
class Distribution:
    """Times by size.

    Attributes:
        counts: How many lie at or below each of `BOUNDS_S` and above the one before; the last: above all.
        sum_s: All of them together, in seconds.
    """

    counts: tuple[int, ...]
    sum_s: float

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts)


class Times(Generic[T]):
    """Distributions of one or more times that come in rows. Not locked: its user is.

    Args:
        columns: How many times a row has.
        read: Takes them from a row: a sequence of milliseconds.
    """

    def __init__(self, columns: int, read: Callable[[T], Sequence[float]]) -> None:
        self._read = read
        self._rows: list[T] = []
        self._counts: NDArray[np.int64] = np.zeros((columns, len(BOUNDS_S) + 1), np.int64)
        self._sums_ms: NDArray[np.float64] = np.zeros(columns)
        self._offsets = np.arange(columns) * (len(BOUNDS_S) + 1)

    def add(self, row: T) -> None:
        """Count a row."""
        rows = self._rows
        rows.append(row)
        if len(rows) >= FOLD_ROWS:
            self._fold()

    def distributions(self) -> list[Distribution]:
        """Return one for each column."""
        self._fold()
        return [
            Distribution(tuple(counts), sum_ms / 1e3)
            for counts, sum_ms in zip(self._counts.tolist(), self._sums_ms.tolist(), strict=True)
        ]

    def _fold(self) -> None:
        if not self._rows:
            return
        values = np.array(list(map(self._read, self._rows)))
        self._rows.clear()
        cells = np.searchsorted(_BOUNDS_MS, values) + self._offsets
        self._counts += np.bincount(cells.ravel(), minlength=self._counts.size).reshape(self._counts.shape)
        self._sums_ms += values.sum(axis=0)


def stage_times() -> Times[Timings]:
    """Return distributions of `STAGES`, fed with each frame's `Timings`."""
    return Times(len(STAGES), attrgetter(*(f"{stage}_ms" for stage in STAGES)))


def single_times() -> Times[tuple[float]]:
    """Return one distribution, fed with milliseconds."""
    return Times(1, lambda row: row)
