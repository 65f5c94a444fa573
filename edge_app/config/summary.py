"""What `edge-app check-config` and `edge-app init` say and write."""

from __future__ import annotations

import sys
from pathlib import Path

from edge_app.config.document import render_default_config, render_starter_config
from edge_app.config.in_the_open import open_ways
from edge_app.config.loader import load_config, require_cameras
from edge_app.config.models import (
    AppConfig,
    CameraSection,
    JsonlSinkSection,
    MqttSinkSection,
)
from edge_app.config.per_model import config_of_model
from edge_app.config.secrets import redact_uri
from edge_app.config.warnings import config_warnings
from edge_app.errors import ConfigError


def check_config(path: Path) -> list[str]:
    """Return what a good configuration amounts to: what others can read on the way, and warnings, included.

    Raises:
        InvalidConfigError: With all problems.
        ConfigError: If the file cannot be read.
    """
    loaded = load_config(path)
    require_cameras(loaded)
    config = loaded.config
    return [
        f"{path} is good.",
        f"node      {config.node.name or 'named after the host'}",
        *(f"model     {_model(config, name)}" for name in (None, *config.models)),
        *(f"camera    {name}: {_camera(camera)}" for name, camera in config.cameras.items()),
        f"broker    {config.mqtt.uri}, topics below {config.mqtt.root}/",
        *(f"sink      {name}: {_sink(sink)}" for name, sink in config.sinks.items()),
        f"metrics   {f'http://{config.metrics.address}/metrics' if config.metrics.enabled else 'not served'}",
        *(f"open      {way}" for way in open_ways(config)),
        *(f"warning   {warning}" for warning in config_warnings(loaded)),
    ]


def write_starter_config(output: Path | None, *, camera_uri: str | None = None, full: bool = False) -> None:
    """Write a configuration to start from into a new file, or to standard output if `output` is None.

    Args:
        output: The file; it must not exist yet.
        camera_uri: Of the first camera; not used when `full`.
        full: Every key there is, with its default.

    Raises:
        ConfigError: If the file exists or cannot be written, or `camera_uri` is none.
    """
    text = render_default_config() if full else render_starter_config(camera_uri)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(
            f"{output} exists already.", hint="Choose another name, or remove it first."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{output} cannot be written: {error.strerror}.", hint="Choose another place."
        ) from None


def _model(config: AppConfig, name: str | None) -> str:
    of_model = config_of_model(config, name)
    path, inference = of_model.model.path, of_model.inference
    if name is None:
        return path
    where = {
        "tensorrt": f"on GPU {inference.device}",
        "onnxruntime": "on the CPU",
        "auto": f"on GPU {inference.device}, on the CPU where there is no GPU",
    }
    return f"{name}: {path} {where[inference.backend]}"


def _camera(camera: CameraSection) -> str:
    words = [redact_uri(camera.uri)]
    if camera.model is not None:
        words.append(f"model {camera.model}")
    if camera.max_fps:
        words.append(f"at most {camera.max_fps:g} frames a second")
    return ", ".join(words if camera.enabled else [*words, "not enabled"])


def _sink(sink: MqttSinkSection | JsonlSinkSection) -> str:
    words = [f"{sink.type}, encoder {sink.encoder}"]
    if isinstance(sink, JsonlSinkSection):
        words.append(f"{sink.max_files} files of {sink.max_mib} MiB")
        words += [f"in {sink.directory}"] if sink.directory else []
    else:
        words.append(sink.uri)
    return ", ".join(words if sink.enabled else [*words, "not enabled"])
