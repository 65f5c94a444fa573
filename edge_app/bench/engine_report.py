"""What `bench.engines` found, as tables, and whether it bears out what is claimed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

REFERENCE = "eager FP32"
EXACT = "eager FP32, TF32 off"
GRAPH_PEER = "FP16 graph"
ENGINE = "TensorRT "
FASTER_THAN_EAGER = {"yolo11n": 6.0, "resnet50": 3.0, "ssd300": 3.0}
"""How many times faster than PyTorch's eager FP32 an FP16 engine shall be, at batch 1."""
LARGEST_ERROR = 0.02
"""Of an engine that is said to do the same; FP16 in PyTorch has up to 0.002 on these networks."""


@dataclass(frozen=True, slots=True)
class WayRow:
    """One way to run a model.

    Attributes:
        way: Its name.
        call_ms: Median over rounds of a call that is waited for, by the host's clock.
        spread_ms: The fastest and the slowest round.
        device_ms: Median over rounds of the time between two events around a call; None without a GPU.
        speedup: Median over rounds of how many times faster than eager FP32 a call was.
        error: Norm of the difference to the outputs of FP32, over their norm.
    """

    way: str
    call_ms: float
    spread_ms: tuple[float, float]
    device_ms: float | None
    speedup: float
    error: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """All ways to run one model at one batch size."""

    model: str
    batch: int
    rows: tuple[WayRow, ...]

    def row(self, way: str) -> WayRow:
        """Return the row of that way. Raises KeyError."""
        for row in self.rows:
            if row.way == way:
                return row
        raise KeyError(way)

    def table(self) -> str:
        """Return the comparison as a table for people, in Markdown."""
        width = max(len(row.way) for row in self.rows)
        lines = [
            f"{self.model}, batch {self.batch}",
            "",
            f"| {'way':{width}} | call ms | rounds ms       | device ms | times faster | error   |",
            f"| {'-' * width} | ------: | --------------: | --------: | -----------: | ------: |",
        ]
        for row in self.rows:
            device = "        -" if row.device_ms is None else f"{row.device_ms:9.3f}"
            low, high = row.spread_ms
            lines.append(
                f"| {row.way:{width}} | {row.call_ms:7.3f} | {low:6.3f} - {high:6.3f} | {device} "
                f"| {row.speedup:12.2f} | {row.error:7.1e} |"
            )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that is said of the engines, and whether this run bears it out."""

    text: str
    holds: bool


def judge(comparison: Comparison) -> list[Claim]:
    """Return what is claimed of the FP16 engines of a model at batch 1; nothing where nothing is claimed."""
    wanted = FASTER_THAN_EAGER.get(comparison.model)
    engines = [row for row in comparison.rows if row.way.startswith(f"{ENGINE}fp16")]
    if wanted is None or comparison.batch != 1 or not engines:
        return []
    best = max(engines, key=lambda row: row.speedup)
    where = f"{comparison.model}, batch 1: {best.way}"
    right = best.error <= LARGEST_ERROR
    claims = [
        Claim(
            f"{where} is {best.speedup:.2f} times faster than {REFERENCE}, at least {wanted:g} wanted, "
            f"with an error of {best.error:.1e}, at most {LARGEST_ERROR:g} wanted",
            right and best.speedup >= wanted,
        )
    ]
    peers = [row for row in comparison.rows if row.way.startswith(GRAPH_PEER)]
    claims += [
        Claim(
            f"{where} takes {best.call_ms:.3f} ms, PyTorch's {peer.way} {peer.call_ms:.3f} ms",
            right and best.call_ms < peer.call_ms,
        )
        for peer in peers
    ]
    return claims


def report(comparisons: Sequence[Comparison], claims: Sequence[Claim], settings: Mapping[str, str]) -> str:
    """Return everything as text."""
    parts = [comparison.table() for comparison in comparisons]
    parts.append("\n".join(f"{'holds ' if claim.holds else 'FAILS '} {claim.text}" for claim in claims))
    parts.append("\n".join(f"{key}: {value}" for key, value in settings.items()))
    return "\n\n".join(part for part in parts if part)
