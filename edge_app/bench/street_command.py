"""What `edge-app bench street` does: the bare engine and the street in turns, on this machine."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from edge_app.app.detector import Detector, open_detector
from edge_app.app.model import describe
from edge_app.bench.measure import environment
from edge_app.bench.street import Load, StreetSpeed, as_json, measure_street, median_of
from edge_app.config.loader import load_config
from edge_app.config.models import AppConfig
from edge_app.errors import EdgeAppError

RAW_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StreetOptions:
    """What is measured, and how often."""

    load: Load
    rounds: int = 5
    batch: int | None = None


def run_street(config_path: Path | None, options: StreetOptions, json_path: Path | None) -> None:
    """Measure and print; see `edge-app bench street`. Raises EdgeAppError."""
    logging.basicConfig(level=logging.WARNING)
    config = AppConfig() if config_path is None else load_config(config_path).config
    if options.batch is not None:
        inference = config.inference.model_copy(update={"max_batch": options.batch})
        config = config.model_copy(update={"inference": inference})
    detector = open_detector(config)
    console = Console(highlight=False)
    try:
        runs, raw = _measure(config, detector, options, console)
        result = _result(detector, options, runs, raw)
    finally:
        detector.backend.close()
    for line in _lines(result):
        console.print(line, soft_wrap=True, markup=False)
    if json_path is not None:
        json_path.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))


def _measure(
    config: AppConfig, detector: Detector, options: StreetOptions, console: Console
) -> tuple[list[StreetSpeed], list[list[float]]]:
    raw_engine = _raw_engine(config, detector)
    runs: list[StreetSpeed] = []
    raw: list[list[float]] = []
    try:
        for number in range(options.rounds):
            with console.status(f"round {number + 1} of {options.rounds} ..."):
                if raw_engine is not None:
                    raw.append(
                        [raw_engine.frames_per_s(streams, RAW_SECONDS) for streams in (1, 2, 3, 4)]
                        + [raw_engine.launch_ms()]
                    )
                inference = config.inference
                runs.append(
                    measure_street(
                        detector,
                        options.load,
                        batch_wait_s=inference.batch_wait_ms / 1e3,
                        max_age_s=inference.max_age_ms / 1e3,
                    )
                )
    finally:
        if raw_engine is not None:
            raw_engine.close()
    return runs, raw


def _raw_engine(config: AppConfig, detector: Detector) -> Any:
    if detector.backend.model.backend != "tensorrt":
        return None
    from edge_app.app.engines import Engines
    from edge_app.bench.raw_engine import RawEngine

    engines = Engines(config, describe(config))
    found = engines.find()
    if found is None:
        raise EdgeAppError("the engine that runs is not in the store any more")
    return RawEngine(engines.store.read(found), detector.backend.max_batch, config.inference.device)


def _result(
    detector: Detector, options: StreetOptions, runs: list[StreetSpeed], raw: list[list[float]]
) -> dict[str, Any]:
    known = environment()
    if detector.backend.model.backend == "tensorrt":
        from edge_app.gpu.describe import describe_device

        known["gpu"] = str(describe_device())
    middle = median_of(runs)
    result: dict[str, Any] = {
        "what": detector.backend.description,
        "model": detector.backend.model.name,
        "batch": detector.backend.max_batch,
        "cameras": options.load.cameras,
        "fps": options.load.fps,
        "size": options.load.size,
        "rounds": [as_json(run) for run in runs],
        "median": as_json(middle),
        "environment": known,
    }
    if raw:
        by_streams = [statistics.median(column) for column in list(zip(*raw, strict=True))[:4]]
        shares = [run.frames_per_s / max(row[:4]) for run, row in zip(runs, raw, strict=True)]
        result["raw"] = {
            "frames_per_s_by_streams": by_streams,
            "launch_ms": statistics.median(row[4] for row in raw),
            "share": statistics.median(shares),
            "shares": shares,
        }
    return result


def _lines(result: Mapping[str, Any]) -> list[str]:
    middle = result["median"]
    fps = "as fast as they are taken" if result["fps"] is None else f"{result['fps']:g} fps"
    size = "x".join(str(side) for side in result["size"])
    lines = [
        f"{result['model']}: {result['what']}",
        f"{result['cameras']} cameras, {size}, {fps}, {len(result['rounds'])} rounds",
    ]
    raw = result.get("raw")
    if raw:
        streams = ", ".join(f"{value:.0f}" for value in raw["frames_per_s_by_streams"])
        lines.append(
            f"bare engine, 1 to 4 streams: {streams} frames/s; one launch {raw['launch_ms']:.3f} ms; "
            f"share reached {raw['share']:.1%}"
        )
    lines.append(
        f"street: {middle['frames_per_s']:.0f} frames/s, {middle['objects']:.1f} objects a frame, "
        f"{middle['cpu']:.2f} cores, {middle['python_us']:.0f} us of CPU a frame, "
        f"spread {middle['spread']:.1%}"
    )
    for name, values in (
        ("captured to encoded", middle["latency_ms"]),
        ("lane exit to encoded", middle["from_lane_ms"]),
        *((f"  {stage}", values) for stage, values in middle["stages_ms"].items()),
    ):
        lines.append(f"{name:22} p50 / p95 / p99 ms: " + " / ".join(f"{value:.2f}" for value in values))
    lines.append(f"captured {middle['captured']}, dropped {middle['dropped'] or 'none'}")
    return lines
