"""What `edge-app inspect` does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edge_app.config.resources import demo_description
from edge_app.errors import EdgeAppError, ModelError

ENGINE_SUFFIXES = frozenset({".engine", ".plan", ".trt"})
MODEL_SUFFIXES = frozenset({".onnx", ".yaml", ".yml"})


def run_inspection(file: str, *, json_output: bool) -> None:
    """Print what a model or an engine is.

    Args:
        file: An .onnx file, the .yaml that describes one, an engine, or `demo`: the shipped model.
        json_output: Print one JSON object instead.

    Raises:
        ModelError, EdgeAppError: What is wrong, explained.
    """
    path = demo_description() if file == "demo" else Path(file)
    if path.suffix in ENGINE_SUFFIXES:
        from edge_app.inspection.engine import inspect_engine
        from edge_app.inspection.text import engine_text

        engine = inspect_engine(path)
        values, lines = engine.to_json(), list(engine_text(engine))
    elif path.suffix in MODEL_SUFFIXES:
        try:
            from edge_app.inspection.model import inspect_model
            from edge_app.inspection.text import model_text
        except ImportError as error:
            raise EdgeAppError(
                f"{error.name} cannot be imported: {error}",
                hint="Install what inspecting a model needs: pip install 'edge-app[inspect]'.",
            ) from None
        model = inspect_model(path)
        values, lines = model.to_json(), list(model_text(model))
    else:
        raise ModelError(
            f"{path}: cannot tell what this file is by its name",
            hint=f"A model ends in {', '.join(sorted(MODEL_SUFFIXES))}, an engine in "
            f"{', '.join(sorted(ENGINE_SUFFIXES))}.",
        )
    sys.stdout.write(json.dumps(values) + "\n" if json_output else "".join(f"{line}\n" for line in lines))
