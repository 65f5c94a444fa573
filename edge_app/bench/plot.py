"""Charts of `edge-app bench street`, as PNG or SVG."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edge_app.errors import ConfigError
from edge_app.files.writable import require_writable

SUFFIXES = (".png", ".svg")
PERCENTILES = ("p50", "p95", "p99")


def require_plots(path: Path) -> None:
    """Check that a chart can be written, before anything is measured.

    Raises:
        ConfigError: The file is neither .png nor .svg or cannot be written, or matplotlib is missing.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"a chart is written as PNG or SVG, found {path.name!r}",
            hint="Let the file's name end in .png or .svg.",
        )
    if find_spec("matplotlib") is None:
        raise ConfigError("charts need matplotlib", hint="pip install matplotlib, or leave out --plot.")
    require_writable(path, "--plot")


def plot_street(result: Mapping[str, Any], path: Path) -> None:
    """Draw a result as JSON has it: throughput beside the bare engine, latency by stage, and the capacity."""
    matplotlib = import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = import_module("matplotlib.pyplot")
    charts = [_throughput, _latency, *([_capacity] if "capacity" in result else [])]
    figure, axes = pyplot.subplots(1, len(charts), figsize=(5 * len(charts), 4), layout="constrained")
    figure.suptitle(f"{result['model']}, batch {result['batch']}, {result['cameras']} cameras", fontsize=11)
    for axis, chart in zip(axes, charts, strict=True):
        chart(axis, result)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _throughput(axis: Any, result: Mapping[str, Any]) -> None:
    bars = {"street": result["median"]["frames_per_s"]}
    for streams, value in enumerate(result.get("raw", {}).get("frames_per_s_by_streams", ()), start=1):
        bars[f"engine, {streams} stream{'s' if streams > 1 else ''}"] = value
    drawn = axis.barh(list(bars), list(bars.values()), color=["tab:blue", *["tab:gray"] * 4][: len(bars)])
    axis.bar_label(drawn, fmt="%.0f", padding=3)
    axis.invert_yaxis()
    axis.set_xlabel("frames/s")


def _latency(axis: Any, result: Mapping[str, Any]) -> None:
    middle = result["median"]
    rows = {"captured to encoded": middle["latency_ms"], "lane exit to encoded": middle["from_lane_ms"]}
    rows |= middle["stages_ms"]
    for place, percentile in enumerate(PERCENTILES):
        offsets = [row + 0.25 * (place - 1) for row in range(len(rows))]
        values = [numbers[place] if numbers else 0.0 for numbers in rows.values()]
        axis.barh(offsets, values, height=0.25, label=percentile)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.invert_yaxis()
    axis.set_xlabel("ms")
    axis.legend(frameon=False)


def _capacity(axis: Any, result: Mapping[str, Any]) -> None:
    found = result["capacity"]
    trials = sorted(found["trials"], key=lambda trial: trial["cameras"])
    cameras = [trial["cameras"] for trial in trials]
    axis.plot(cameras, [trial["p95_ms"] for trial in trials], marker="o")
    axis.axhline(found["latency_ms"], linestyle="--", color="tab:gray")
    axis.set_xlabel(f"cameras of {found['fps']:g} fps")
    axis.set_ylabel("p95 captured to encoded, ms")
    axis.set_title(f"{found['cameras']} cameras carried", fontsize=10)
