"""What `edge-app bench street` does: the bare engine and the street in turns, on this machine."""

from __future__ import annotations

import logging
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from edge_app.app.detector import Detector, open_detector
from edge_app.app.model import describe
from edge_app.bench.capacity import capacity_of, find_capacity, judge_overload
from edge_app.bench.configured_street import ConfiguredStreet
from edge_app.bench.instant import NAME as NO_MODEL
from edge_app.bench.instant import instant_detector
from edge_app.bench.machine import gpu_state
from edge_app.bench.measure import environment
from edge_app.bench.street import Load, StreetSpeed, as_json, median_of
from edge_app.bench.street_processes import Daemons
from edge_app.bench.street_report import report_lines
from edge_app.config.loader import load_config
from edge_app.config.models import AppConfig
from edge_app.errors import ConfigError
from edge_app.files.writable import require_writable

RAW_SECONDS = 1.0
STREAMS = 4
PACED_CALLS = 30
LONG_PERIOD_S = 0.01
"""From here on a GPU counts as idle between two batches."""
CAMERA_FPS = 30.0


@dataclass(frozen=True, slots=True)
class StreetOptions:
    """What is measured, and how often.

    Attributes:
        load: What is offered.
        rounds: How often the bare engine and the street take turns.
        batch: Replaces inference.max_batch.
        backend: Replaces inference.backend; `none`: a model that answers at once.
        model: Replaces model.path.
        overload: Whether twice the frames that can be processed are offered as well.
        capacity: Whether the number of cameras is looked for that the machine carries.
        latency_ms: Longest p95 from captured to encoded of such a number.
        processes: How many daemons share the cameras.
    """

    load: Load
    rounds: int = 5
    batch: int | None = None
    backend: str | None = None
    model: str | None = None
    overload: bool = False
    capacity: bool = False
    latency_ms: float = 50.0
    processes: int = 1


def run_street(
    config_path: Path | None, options: StreetOptions, json_path: Path | None, plot_path: Path | None = None
) -> None:
    """Measure and print; see `edge-app bench street`. Raises EdgeAppError."""
    logging.basicConfig(level=logging.WARNING)
    if json_path is not None:
        require_writable(json_path, "--json")
    if plot_path is not None:
        from edge_app.bench.plot import require_plots

        require_plots(plot_path)
    config = _configured(config_path, options)
    detector = instant_detector(config) if options.backend == NO_MODEL else open_detector(config)
    console = Console(highlight=False)
    try:
        result = _Measurement(config, detector, options, console).result()
    finally:
        detector.backend.close()
    for line in report_lines(result):
        console.print(line, soft_wrap=True, markup=False)
    if json_path is not None:
        json_path.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    if plot_path is not None:
        from edge_app.bench.plot import plot_street

        plot_street(result, plot_path)


def _configured(config_path: Path | None, options: StreetOptions) -> AppConfig:
    config = AppConfig() if config_path is None else load_config(config_path).config
    inference: dict[str, object] = {}
    if options.batch is not None:
        inference["max_batch"] = options.batch
    if options.backend not in {None, NO_MODEL}:
        inference["backend"] = options.backend
    model = {} if options.model is None else {"path": options.model}
    if options.processes > 1 and (options.overload or options.capacity or options.backend == NO_MODEL):
        raise ConfigError("several processes are measured at one load, with a model.")
    if options.processes > options.load.cameras:
        raise ConfigError(
            f"{options.load.cameras} cameras cannot be shared by {options.processes} processes."
        )
    if (options.overload or options.capacity) and options.load.source != "memory":
        raise ConfigError("overload and capacity are measured with frames in memory, found another source.")
    return config.model_copy(
        update={
            "inference": config.inference.model_copy(update=inference),
            "model": config.model.model_copy(update=model),
        }
    )


class _Measurement:
    """One model on this machine."""

    def __init__(
        self, config: AppConfig, detector: Detector, options: StreetOptions, console: Console
    ) -> None:
        self._config = config
        self._detector = detector
        self._options = options
        self._console = console
        self._alone = ConfiguredStreet(config, detector)
        self._daemons = Daemons(config, options.processes) if options.processes > 1 else None

    def result(self) -> dict[str, Any]:
        """Measure everything that is asked for, and return it as plain values."""
        options, backend = self._options, self._detector.backend
        raw_engine = None
        try:
            raw_engine, limit = self._raw_engine(), self._decoder_limit()
            runs, raw, decoded = self._rounds(raw_engine, limit)
        finally:
            if raw_engine is not None:
                raw_engine.close()
            if self._daemons is not None:
                self._daemons.close()
        result: dict[str, Any] = {
            "what": backend.description,
            "model": backend.model.name,
            "batch": backend.max_batch,
            "slots": backend.slot_count,
            "cameras": options.load.cameras,
            "processes": options.processes,
            "fps": options.load.fps,
            "size": options.load.size,
            "source": options.load.source,
            "decoder": options.load.decoder,
            "rounds": [as_json(run) for run in runs],
            "median": as_json(median_of(runs)),
            "environment": self._environment(),
        }
        if raw:
            result["raw"] = _raw_result(runs, raw)
        if decoded:
            result["decoder_limit"] = _decoder_result(runs, decoded)
        if options.overload:
            result["overload"] = self._overload()
        if options.capacity:
            result["capacity"] = self._capacity()
        return result

    def _rounds(
        self, raw_engine: Any, limit: Any
    ) -> tuple[list[StreetSpeed], list[list[float]], list[dict[int, float]]]:
        runs: list[StreetSpeed] = []
        raw: list[list[float]] = []
        decoded: list[dict[int, float]] = []
        for number in range(self._options.rounds):
            with self._console.status(f"round {number + 1} of {self._options.rounds} ..."):
                if raw_engine is not None:
                    raw.append(_raw_round(raw_engine, self._options.load))
                if limit is not None:
                    decoded.append(limit.frames_per_s(RAW_SECONDS))
                runs.append(self._street(self._options.load))
        return runs, raw, decoded

    def _street(self, load: Load) -> StreetSpeed:
        if self._daemons is not None:
            return self._daemons.measure(load)
        return self._alone.measure(load)

    def _overload(self) -> dict[str, Any]:
        load, backend = self._options.load, self._detector.backend
        with self._console.status("overload ..."):
            most = self._street(replace(load, fps=None))
            fps = 2 * most.frames_per_s / load.cameras
            twice = self._street(replace(load, fps=fps))
        found = judge_overload(
            most,
            twice,
            slots=backend.slot_count,
            max_batch=backend.max_batch,
            wait_ms=self._config.inference.batch_wait_ms,
        )
        return asdict(found) | {"share": found.share, "offered_fps": 2 * most.frames_per_s}

    def _capacity(self) -> dict[str, Any]:
        load = self._options.load
        fps = load.fps or CAMERA_FPS
        with self._console.status("capacity ..."):
            trials = find_capacity(
                lambda cameras: self._street(replace(load, cameras=cameras, fps=fps)),
                self._options.latency_ms,
            )
        return {
            "fps": fps,
            "latency_ms": self._options.latency_ms,
            "cameras": capacity_of(trials),
            "trials": [asdict(trial) for trial in trials],
        }

    def _environment(self) -> dict[str, str]:
        known = environment()
        if self._detector.backend.model.backend == "tensorrt":
            from edge_app.gpu.describe import describe_device

            device = self._config.inference.device
            known["gpu"] = str(describe_device(device))
            known |= gpu_state(device)
        return known

    def _decoder_limit(self) -> Any:
        load = self._options.load
        if (
            self._alone.decoders(load) is None
            or load.decoder not in {"auto", "nvdec"}
            or not Path(load.source).is_file()
        ):
            return None
        from edge_app.bench.decoder_limit import DecoderLimit

        return DecoderLimit(load.source, self._config.inference.device)

    def _raw_engine(self) -> Any:
        if self._detector.backend.model.backend != "tensorrt":
            return None
        from edge_app.app.engines import Engines
        from edge_app.bench.raw_engine import RawEngine

        engines = Engines(self._config, describe(self._config))
        plan = engines.store.read(engines.require())
        return RawEngine(plan, self._detector.backend.max_batch, self._config.inference.device)


def _decoder_result(runs: list[StreetSpeed], decoded: list[dict[int, float]]) -> dict[str, Any]:
    """Return what the decoder alone gave, and the street's shares of it, round by round."""
    shares = [run.frames_per_s / max(rates.values()) for run, rates in zip(runs, decoded, strict=True)]
    return {
        "frames_per_s_by_threads": {
            str(threads): statistics.median(rates[threads] for rates in decoded) for threads in decoded[0]
        },
        "share": statistics.median(shares),
        "shares": shares,
    }


def _raw_round(raw_engine: Any, load: Load) -> list[float]:
    """Return the frames a second on 1 to 4 streams, the time of a launch, and that at the cameras' pace."""
    by_streams = [raw_engine.frames_per_s(streams, RAW_SECONDS) for streams in range(1, STREAMS + 1)]
    launch_ms = raw_engine.launch_ms()
    period_s = 0.0 if load.fps is None else 1 / load.fps / load.cameras
    paced_ms = launch_ms if period_s < LONG_PERIOD_S else raw_engine.launch_ms(PACED_CALLS, period_s)
    return [*by_streams, launch_ms, paced_ms]


def _raw_result(runs: list[StreetSpeed], raw: list[list[float]]) -> dict[str, Any]:
    shares = [run.frames_per_s / max(row[:STREAMS]) for run, row in zip(runs, raw, strict=True)]
    *by_streams, launch_ms, paced_ms = (statistics.median(column) for column in zip(*raw, strict=True))
    return {
        "frames_per_s_by_streams": by_streams,
        "launch_ms": launch_ms,
        "paced_launch_ms": paced_ms,
        "share": statistics.median(shares),
        "shares": shares,
    }
