"""The child process that looks an engine up: it loads CUDA and TensorRT, which may crash."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edge_app.app.engines import Engines, engine_directory
from edge_app.app.model import describe
from edge_app.config.loader import load_config
from edge_app.config.per_model import config_of_model
from edge_app.errors import EdgeAppError


def main() -> None:
    """Print what is known of a model's engine as JSON; arguments: configuration, model (empty: the first)."""
    path, model = Path(sys.argv[1]), sys.argv[2] or None
    try:
        told = look_up(path, model)
    except EdgeAppError as error:
        told = {"error": error.message, "hint": error.hint}
    sys.stdout.write(json.dumps(told) + "\n")


def look_up(path: Path, model: str | None) -> dict[str, str | None]:
    """Return name, state and plan of the engine that the configuration asks for.

    Raises:
        ConfigError, ModelError, EngineError, BackendError: It cannot be told.
    """
    config = config_of_model(load_config(path).config, model)
    description = describe(config)
    directory = engine_directory(config.engine)
    told: dict[str, str | None] = {
        "name": description.name,
        "directory": str(directory),
        "state": None,
        "plan": None,
    }
    if not directory.is_dir():  # opening a store would make it, and as the wrong user
        return told
    engine = Engines(config, description).find()
    if engine is not None:
        told |= {"state": engine.manifest.state.value, "plan": engine.plan_path.name}
    return told
