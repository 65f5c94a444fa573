"""A soak's table and chart, for people and for docs/reliability.md."""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from pathlib import Path

from tests.soak.series import Soak
from tests.soak.verdict import verdict


def table(soak: Soak, warm_up_s: float) -> str:
    """Return what a soak found, in Markdown."""
    start, last_s = soak.start, float(soak.t_s[-1])
    cpu = 100 * float(soak.cpu_s[-1] - soak.cpu_s[0]) / max(last_s - float(soak.t_s[0]), 1.0)
    kinds = Counter(str(fault["fault"]) for fault in soak.faults)
    hurt = ", ".join(f"{name} {count}" for name, count in kinds.items())
    rows = [
        (finding.name, finding.found, "passed" if finding.passed else "**failed**")
        for finding in verdict(soak, warm_up_s)
    ]
    rows += [
        ("faults", f"{len(soak.faults)}: {hurt}", ""),
        ("processor", f"{cpu:.0f} % of a core ({start['machine']}, Python {start['python']})", ""),
        *((f"not tried: {what}", why, "") for what, why in start["lacking"].items()),
    ]
    about = f"{len(start['cameras'])} rendered cameras, {start['size']} at {start['fps']} fps"
    lines = [f"| {last_s / 60:.0f} minutes, {about} | | |", "| --- | --- | --- |"]
    return "\n".join(lines + [f"| {name} | {found} | {how} |" for name, found, how in rows])


def plot(soak: Soak, path: Path, warm_up_s: float) -> None:
    """Draw memory, threads, descriptors and frames a second over time, with the faults as ticks."""
    matplotlib = import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = import_module("matplotlib.pyplot")
    figure, (memory, counts, rates) = pyplot.subplots(3, 1, figsize=(9, 7), sharex=True, layout="constrained")
    minutes = soak.t_s / 60
    memory.plot(minutes, soak.rss_bytes / 1e6, linewidth=1)
    memory.set_ylabel("RSS, MB")
    memory.axvspan(0, warm_up_s / 60, color="tab:gray", alpha=0.15, label="warm-up, does not count")
    low, high = memory.get_ylim()
    memory.vlines(
        [fault["t_s"] / 60 for fault in soak.faults],
        low,
        low + 0.05 * (high - low),
        color="tab:red",
        linewidth=0.8,
        label="faults",
    )
    memory.legend(frameon=False, loc="lower right")
    counts.plot(minutes, soak.threads, linewidth=1, label="threads")
    counts.plot(minutes, soak.descriptors, linewidth=1, label="descriptors")
    counts.set_ylim(bottom=0)
    counts.legend(frameon=False, loc="lower right")
    for camera in soak.start["cameras"]:
        times, fps = soak.fps(camera)
        rates.plot(times / 60, fps, linewidth=0.8, label=camera)
    rates.set_ylim(0, 1.2 * soak.start["fps"])
    rates.set_ylabel("frames/s of each camera")
    rates.set_xlabel("minutes")
    for axis in (memory, counts, rates):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
