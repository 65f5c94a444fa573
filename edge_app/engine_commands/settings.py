"""The configuration that a command works on: a file's or the defaults, with the command line's changes."""

from __future__ import annotations

import difflib
from pathlib import Path

from edge_app.app.model import describe
from edge_app.config.loader import load_config
from edge_app.config.models import AppConfig
from edge_app.config.per_model import cameras_by_model, config_of_model
from edge_app.errors import ConfigError
from edge_app.infer.model import ModelDescription


def read_settings(
    config_path: Path | None,
    *,
    model: str | None = None,
    precision: str | None = None,
    calibration: str | None = None,
    directory: Path | None = None,
) -> AppConfig:
    """Return the configuration; what is None stays as the file, or the default, has it.

    Args:
        config_path: None: the defaults.
        model: Name of one of its `models`, or the path of another model.
        precision: Replaces engine.precision.
        calibration: Replaces engine.calibration.source.
        directory: Replaces engine.directory.

    Raises:
        ConfigError: The file cannot be used, or there is no such model.
    """
    config = AppConfig() if config_path is None else load_config(config_path).config
    if model in config.models:
        config, model = config_of_model(config, model), None
    elif model is not None and model != "demo" and config.models and not Path(model).exists():
        close = difflib.get_close_matches(model, config.models, 1)
        hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(config.models)}."
        raise ConfigError(f"{model} is neither one of the models of {config_path} nor a file.", hint=hint)
    changes: dict[str, object] = {}
    if precision is not None:
        changes["precision"] = precision
    if directory is not None:
        changes["directory"] = str(directory.absolute())
    if calibration is not None:
        changes["calibration"] = config.engine.calibration.model_copy(update={"source": calibration})
    section = config.model if model is None else config.model.model_copy(update={"path": model})
    return config.model_copy(
        update={"model": section, "engine": config.engine.model_copy(update=changes)},
    )


def models_to_build(config_path: Path | None) -> list[str | None]:
    """Return the names of the models that a configuration's cameras use, for `read_settings`.

    Raises:
        ConfigError: The file cannot be used.
    """
    return list(cameras_by_model(load_config(config_path).config)) if config_path else [None]


def describe_onnx(config: AppConfig) -> ModelDescription:
    """Return what is known of the model, which must be what an engine is built from.

    Raises:
        ConfigError: It is an engine already.
        ModelError: It cannot be read.
    """
    description = describe(config)
    if description.path.suffix in {".engine", ".plan", ".trt"}:
        raise ConfigError(
            f"{description.path} is an engine already, and engines are built from ONNX models.",
            hint="Give the .onnx file that it was built from.",
        )
    return description
