"""What `edge-app verify` does."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from edge_app.app.detector import Detector, detector_of, open_detector
from edge_app.app.engine_backend import open_engine
from edge_app.app.engines import Engines
from edge_app.config.models import AppConfig
from edge_app.engine.errors import EngineError
from edge_app.engine.store import StoredEngine
from edge_app.engine_commands.display import BuildDisplay
from edge_app.engine_commands.settings import describe_onnx, read_settings
from edge_app.errors import EXIT_FAILURE
from edge_app.evaluate.command import parse_seeds
from edge_app.evaluate.datasets import Dataset, SceneDataset
from edge_app.evaluate.evaluation import evaluate, evaluation_settings

FRAMES_OF_A_SCENE = 10
WIDTH, HEIGHT = 1280, 720


def run_verification(
    config_path: Path | None,
    *,
    model: str | None = None,
    precision: str | None = None,
    directory: Path | None = None,
    seeds: str | None = None,
) -> int:
    """Compare the engine of a configuration with its model, and return the exit status: 0 if it passes.

    Args:
        config_path: None: the defaults, which name the shipped model.
        model: Overrides the model's path.
        precision: Overrides engine.precision.
        directory: Overrides engine.directory.
        seeds: Rendered scenes on which both are evaluated as well, `first-last`; None: none.

    Raises:
        ConfigError, ModelError, EngineError, BackendError: What is wrong, explained.
    """
    config = read_settings(config_path, model=model, precision=precision, directory=directory)
    seed_range = None if seeds is None else parse_seeds(seeds)
    description = describe_onnx(config)
    with BuildDisplay(Console(stderr=True)) as display:
        engines = Engines(config, description, emit=display)
        engine = engines.find()
        if engine is None:
            raise EngineError(
                f"there is no {config.engine.precision} engine of {description.name} that fits here "
                f"in {engines.store.directory}",
                hint="Build it: edge-app build; edge-app engines --explain says what the others are.",
            )
        plan = engines.store.read(engine)
        report = engines.verify(engine, plan)
    if seed_range is not None:
        difference = _map50_difference(config, engines, engine, plan, seed_range)
        report = replace(report, map50_difference=difference)
    Console().print(f"{engine.plan_path}\n{report}", markup=False, highlight=False, soft_wrap=True)
    return 0 if report.passed else EXIT_FAILURE


def _map50_difference(
    config: AppConfig, engines: Engines, engine: StoredEngine, plan: bytes, seeds: range
) -> float | None:
    config = config.model_copy(update={"postprocess": evaluation_settings(config.postprocess)})
    on_cpu = config.inference.model_copy(update={"backend": "onnxruntime"})
    with closing(open_engine(config, engines.description, engine, plan)) as backend:
        found = map50(detector_of(backend, config.postprocess), seeds)
    reference = open_detector(config.model_copy(update={"inference": on_cpu}))
    with closing(reference.backend):
        expected = map50(reference, seeds)
    return None if found is None or expected is None else found - expected


def map50(detector: Detector, seeds: range) -> float | None:
    """Return a detector's mean average precision at IoU 0.5, 0..1, on rendered scenes; None without any."""
    labels = detector.backend.model.labels
    dataset: Dataset = SceneDataset(labels, seeds=seeds, frames=FRAMES_OF_A_SCENE, width=WIDTH, height=HEIGHT)
    return evaluate(detector.backend, detector.detect, dataset).average_precision.map50
