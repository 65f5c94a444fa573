"""What came of `edge-app bench street`, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edge_app.bench.instant import NAME as NO_MODEL

BUSY = 0.9
"""From this share on something counts as what limits the rest."""


def report_lines(result: Mapping[str, Any]) -> list[str]:
    """Return the report of a result as JSON has it."""
    return [
        *_what(result),
        *_raw(result),
        *_decoder(result),
        *_street(result["median"]),
        f"limited by: {bottleneck(result)}",
        *_overload(result.get("overload")),
        *_capacity(result.get("capacity")),
    ]


def bottleneck(result: Mapping[str, Any]) -> str:
    """Return in words what kept the street from being faster."""
    middle, raw = result["median"], result.get("raw")
    if not middle["latency_ms"]:
        came = "frames came, none was finished" if middle["captured"] else "no frame came"
        return f"unknown: within a round {came}; longer rounds (--seconds) tell more"
    if result["fps"] is not None and not middle["dropped"]:
        asked = result["cameras"] * result["fps"]
        if middle["frames_per_s"] < BUSY * asked:
            came = f"{middle['frames_per_s']:.0f} of the {asked:.0f} frames/s that were asked for came"
            return f"the source: {came}, decoded or rendered"
        return "nothing: everything that was offered was processed"
    if raw and raw["share"] >= BUSY:
        return "the GPU: the engine alone is hardly faster"
    if result.get("decoder_limit", {}).get("share", 0.0) >= BUSY:
        return "the GPU's decoder: alone it is hardly faster"
    if (
        result["source"] != "memory"
        and middle["stages_ms"]["waiting"][0] < middle["stages_ms"]["inference"][0]
    ):
        return "the source: frames are taken as soon as they are decoded or rendered"
    python = sum(used for name, used in middle["threads_us"].items() if name != "native")
    if raw and python * middle["frames_per_s"] / 1e6 >= BUSY:
        return "Python: its threads keep one core busy, and they share one lock"
    if raw:
        return "the way to the GPU and back: neither the engine nor one core is busy all the time"
    return "Python: there is no model" if result["model"] == NO_MODEL else "the model on the CPU"


def _what(result: Mapping[str, Any]) -> Iterator[str]:
    fps = "as fast as they are taken" if result["fps"] is None else f"{result['fps']:g} fps"
    size = "x".join(str(side) for side in result["size"])
    source = "frames in memory" if result["source"] == "memory" else f"source {result['source']}"
    yield f"{result['model']}: {result['what']}"
    shared = "" if result["processes"] == 1 else f" in {result['processes']} processes"
    yield f"{result['cameras']} cameras{shared}, {source}, {size}, {fps}, {len(result['rounds'])} rounds"


def _decoder(result: Mapping[str, Any]) -> Iterator[str]:
    limit = result.get("decoder_limit")
    if limit:
        rates = limit["frames_per_s_by_threads"]
        yield (
            f"the GPU's decoder alone, on {', '.join(rates)} threads: "
            f"{', '.join(f'{rate:.0f}' for rate in rates.values())} frames/s; "
            f"share reached {limit['share']:.1%}"
        )


def _raw(result: Mapping[str, Any]) -> Iterator[str]:
    raw = result.get("raw")
    if raw:
        streams = ", ".join(f"{value:.0f}" for value in raw["frames_per_s_by_streams"])
        yield (
            f"bare engine, 1 to 4 streams: {streams} frames/s; one launch {raw['launch_ms']:.3f} ms "
            f"({raw['paced_launch_ms']:.3f} at the cameras' pace); "
            f"share reached {raw['share']:.1%}"
        )


def _street(middle: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"street: {middle['frames_per_s']:.0f} frames/s, {middle['objects']:.1f} objects a frame, "
        f"{middle['cpu']:.2f} cores, {middle['python_us']:.0f} us of CPU a frame, "
        f"spread {middle['spread']:.1%}"
    )
    yield "CPU a frame, us: " + ", ".join(f"{name} {used:.0f}" for name, used in middle["threads_us"].items())
    for name, values in (
        ("captured to encoded", middle["latency_ms"]),
        ("lane exit to encoded", middle["from_lane_ms"]),
        *((f"  {stage}", values) for stage, values in middle["stages_ms"].items()),
    ):
        told = " / ".join(f"{value:.2f}" for value in values) or "no frame"
        yield f"{name:22} p50 / p95 / p99 ms: {told}"
    yield f"captured {middle['captured']}, dropped {middle['dropped'] or 'none'}"


def _overload(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found is not None:
        yield (
            f"overload: {found['offered_fps']:.0f} frames/s offered, "
            f"{found['overloaded_fps']:.0f} processed, "
            f"{found['share']:.1%} of the capacity; lane exit to encoded p95 {found['p95_ms']:.2f} ms "
            f"(allowed {found['allowed_ms']:.2f}); age at the lane's exit p95 {found['age_p95_ms']:.2f} ms; "
            f"spread {found['spread']:.1%}; dropped {found['dropped'] or 'none'}"
        )


def _capacity(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found is None:
        return
    for trial in found["trials"]:
        verdict = "carried" if trial["carried"] else "too many"
        yield (
            f"  {trial['cameras']} cameras: {trial['frames_per_s']:.0f} frames/s, "
            f"p95 {trial['p95_ms']:.1f} ms, {trial['missing']:.2%} missing: {verdict}"
        )
    yield (
        f"capacity: {found['cameras']} cameras of {found['fps']:g} fps at p95 of at most "
        f"{found['latency_ms']:g} ms"
    )
