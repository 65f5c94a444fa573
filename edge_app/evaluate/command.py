"""What `edge-app eval` does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge_app.app.detector import open_detector
from edge_app.config.loader import load_config
from edge_app.config.models import AppConfig
from edge_app.errors import ConfigError
from edge_app.evaluate.coco import CocoDataset
from edge_app.evaluate.datasets import Dataset, SceneDataset
from edge_app.evaluate.evaluation import evaluate, evaluation_settings

SIDE_PX = (32, 8192)
"""Shortest and longest side of a rendered frame."""


def run_evaluation(
    config_path: Path | None,
    *,
    model: str | None,
    seeds: str,
    frames: int,
    size: str,
    coco: Path | None,
    images: Path | None,
    json_output: bool,
) -> None:
    """Evaluate a model and print the figures.

    Args:
        config_path: Model and thresholds come from here; None: the defaults, which name the shipped model.
        model: Overrides the model's path.
        seeds: Scenes to evaluate on: `first-last`.
        frames: Frames of each scene.
        size: Of the rendered frames: `1280x720`.
        coco: Annotations to evaluate on instead of scenes.
        images: Folder of the annotated images; None: the folder of the annotations.
        json_output: Print one JSON object on standard output; the table goes to standard error.

    Raises:
        ConfigError, ModelError, DatasetError: What is wrong, explained.
    """
    if images is not None and coco is None:
        raise ConfigError(
            "--images is of no use without --coco", hint="--coco names the annotations of these images."
        )
    config = AppConfig() if config_path is None else load_config(config_path).config
    seed_range = parse_seeds(seeds)
    width, height = _size(size)
    section = config.model if model is None else config.model.model_copy(update={"path": model})
    changes = {"model": section, "postprocess": evaluation_settings(config.postprocess)}
    detector = open_detector(config.model_copy(update=changes))
    labels = detector.backend.model.labels
    dataset: Dataset
    if coco is not None:
        dataset = CocoDataset(labels, coco, images or coco.parent)
    else:
        dataset = SceneDataset(labels, seeds=seed_range, frames=frames, width=width, height=height)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("images", total=len(dataset))
        report = evaluate(
            detector.backend, detector.detect, dataset, lambda done, _total: bar.update(task, completed=done)
        )
    detector.backend.close()
    (console if json_output else Console()).print(report.table(), highlight=False)
    if json_output:
        sys.stdout.write(orjson.dumps(report.as_dict()).decode() + "\n")


def parse_seeds(text: str) -> range:
    """Return the seeds that `first-last` means. Raises ConfigError."""
    found = re.fullmatch(r"(\d{1,9})-(\d{1,9})", text)
    if found is None or int(found[2]) < int(found[1]):
        raise ConfigError(
            f"--seeds must be the first and the last seed, found {text!r}", hint="Write it like 0-49."
        )
    return range(int(found[1]), int(found[2]) + 1)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(SIDE_PX[0] <= side <= SIDE_PX[1] for side in (width, height)):
        raise ConfigError(
            f"--size must be width x height, each from {SIDE_PX[0]} to {SIDE_PX[1]} pixels, found {text!r}",
            hint="Write it like 1280x720.",
        )
    return width, height
