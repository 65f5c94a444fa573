"""What `edge-app build` does."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from rich.console import Console

from edge_app.app.engines import Engines
from edge_app.engine.obtain import ObtainedEngine
from edge_app.engine_commands.display import BuildDisplay
from edge_app.engine_commands.settings import describe_onnx, models_to_build, read_settings
from edge_app.engine_commands.words import MIB, describe_verification
from edge_app.ops.signals import stop_on_signals


def run_build(
    config_path: Path | None,
    *,
    model: str | None = None,
    precision: str | None = None,
    calibration: str | None = None,
    directory: Path | None = None,
    rebuild: bool = False,
    accept_refused: bool = False,
) -> None:
    """Build the engines of a configuration's models where there are none yet, and say what they are.

    Args:
        config_path: None: the defaults, which name the shipped model.
        model: One of its `models` by name, or another model's path; None: all that its cameras use.
        precision: Overrides engine.precision.
        calibration: Overrides engine.calibration.source.
        directory: Overrides engine.directory.
        rebuild: Build although there is an engine that fits.
        accept_refused: Take an engine into use that failed its verification.

    Raises:
        ConfigError, ModelError, EngineError, BackendError: Why there is none, explained.
    """
    stop = threading.Event()
    names = [model] if model is not None else models_to_build(config_path) or [None]
    settings = [
        read_settings(
            config_path, model=name, precision=precision, calibration=calibration, directory=directory
        )
        for name in names
    ]
    descriptions = [describe_onnx(config) for config in settings]
    stop_on_signals(stop)
    for config, description in zip(settings, descriptions, strict=True):
        started_s = time.monotonic()
        with BuildDisplay(Console(stderr=True)) as display:
            engines = Engines(config, description, emit=display, cancelled=stop.is_set)
            obtained = engines.obtain(rebuild=rebuild, accept_refused=accept_refused)
        report = describe_obtained(obtained, time.monotonic() - started_s)
        Console().print(report, markup=False, highlight=False, soft_wrap=True)


def describe_obtained(obtained: ObtainedEngine, elapsed_s: float) -> str:
    """Return what a person wants to know of an engine that can be used now."""
    manifest = obtained.engine.manifest
    identity = manifest.identity
    device, profile, options = identity.device, identity.profile, identity.options
    batches = sorted({profile.min_batch, profile.opt_batch, profile.max_batch})
    rows = {
        "engine": str(obtained.engine.plan_path),
        "": f"{'built' if obtained.reasons else 'found in the store'}, {elapsed_s:.1f} s in all",
        "because": "; ".join(obtained.reasons),
        "model": f"{manifest.name} (sha256 {identity.model_sha256[:12]})",
        "precision": identity.precision.value,
        "input": f"{profile.width}x{profile.height}, batch {' / '.join(map(str, batches))}",
        "for": f"{device.gpu}, compute capability {device.compute_capability}",
        "with": f"TensorRT {device.tensorrt}, CUDA {device.cuda}"
        + (f", L4T {device.l4t}" if device.l4t else ""),
        "level": f"{options.optimization_level}",
        "identity": identity.digest[:12],
        "built in": f"{manifest.build_s:.1f} s",
        "size": f"{manifest.plan_bytes / MIB:.1f} MiB",
        "verified": describe_verification(manifest.verification),
    }
    return "\n".join(f"{name:10} {value}" for name, value in rows.items() if value)
