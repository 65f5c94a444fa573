"""What `edge-app verify` does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from edge_app.app.detector import Detector, detector_of, open_detector
from edge_app.app.engine_backend import open_engine
from edge_app.app.engines import Engines
from edge_app.config.models import AppConfig
from edge_app.engine.store import StoredEngine
from edge_app.engine_commands.display import BuildDisplay
from edge_app.engine_commands.settings import describe_onnx, read_settings
from edge_app.errors import EXIT_FAILURE, ConfigError
from edge_app.evaluate.coco import CocoDataset
from edge_app.evaluate.command import parse_seeds
from edge_app.evaluate.datasets import Dataset, SceneDataset
from edge_app.evaluate.evaluation import evaluate, evaluation_settings

MakeDataset: TypeAlias = Callable[[tuple[str, ...]], Dataset]
"""From the model's labels to the data."""

FRAMES_OF_A_SCENE = 10
WIDTH, HEIGHT = 1280, 720


def run_verification(
    config_path: Path | None,
    *,
    model: str | None = None,
    precision: str | None = None,
    directory: Path | None = None,
    seeds: str | None = None,
    coco: Path | None = None,
    images: Path | None = None,
) -> int:
    """Compare the engine of a configuration with its model, and return the exit status: 0 if it passes.

    Args:
        config_path: None: the defaults, which name the shipped model.
        model: Overrides the model's path.
        precision: Overrides engine.precision.
        directory: Overrides engine.directory.
        seeds: Rendered scenes on which both are evaluated as well, `first-last`; None: none.
        coco: Annotations of pictures of your own on which both are evaluated as well; None: none.
        images: Folder of the annotated pictures; None: the folder of the annotations.

    Raises:
        ConfigError, DatasetError, ModelError, EngineError, BackendError: What is wrong, explained.
    """
    config = read_settings(config_path, model=model, precision=precision, directory=directory)
    make_dataset = labelled_data(seeds, coco, images)
    description = describe_onnx(config)
    with BuildDisplay(Console(stderr=True)) as display:
        engines = Engines(config, description, emit=display)
        engine = engines.require()
        if make_dataset is not None and engines.description.labels is not None:
            # What is wrong with the data is said before the comparison, which takes its time.
            make_dataset(engines.description.labels)
        plan = engines.store.read(engine)
        report = engines.verify(engine, plan)
    remark = ""
    if make_dataset is not None:
        report = replace(report, map50=_map50_of_both(config, engines, engine, plan, make_dataset))
        if report.map50 is None:
            remark = "\n  no mAP50: no object of the model's classes is labelled"
    text = f"{engine.plan_path}\n{report}{remark}"
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
    return 0 if report.passed else EXIT_FAILURE


def _map50_of_both(
    config: AppConfig, engines: Engines, engine: StoredEngine, plan: bytes, make_dataset: MakeDataset
) -> tuple[float, float] | None:
    config = config.model_copy(update={"postprocess": evaluation_settings(config.postprocess)})
    on_cpu = config.inference.model_copy(update={"backend": "onnxruntime"})
    with closing(open_engine(config, engines.description, engine, plan)) as backend:
        found = map50(detector_of(backend, config.postprocess), make_dataset)
    reference = open_detector(config.model_copy(update={"inference": on_cpu}))
    with closing(reference.backend):
        expected = map50(reference, make_dataset)
    return None if found is None or expected is None else (found, expected)


def labelled_data(seeds: str | None, coco: Path | None, images: Path | None) -> MakeDataset | None:
    """Return what makes the data that both sides are evaluated on; None where none is asked for.

    Raises:
        ConfigError: Two are asked for, pictures without annotations, or seeds that are none.
    """
    if coco is not None and seeds is not None:
        raise ConfigError("--seeds and --coco were both given", hint="Verify twice, with one of them each.")
    if coco is None and images is not None:
        raise ConfigError(
            "--images was given without --coco", hint="Name the annotations of these pictures with --coco."
        )
    if coco is not None:
        annotations = coco
        return lambda labels: CocoDataset(labels, annotations, images or annotations.parent)
    if seeds is None:
        return None
    seed_range = parse_seeds(seeds)
    return lambda labels: SceneDataset(
        labels, seeds=seed_range, frames=FRAMES_OF_A_SCENE, width=WIDTH, height=HEIGHT
    )


def map50(detector: Detector, make_dataset: MakeDataset) -> float | None:
    """Return a detector's mean average precision at IoU 0.5, 0..1; None where nothing is labelled."""
    dataset = make_dataset(detector.backend.model.labels)
    return evaluate(detector.backend, detector.detect, dataset).average_precision.map50
