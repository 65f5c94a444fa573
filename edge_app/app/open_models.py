"""The models that have cameras, opened one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from edge_app.app.build_watch import BuildWatch
from edge_app.app.detector import Detector, open_detector
from edge_app.app.fleet import Fleet
from edge_app.config.models import AppConfig
from edge_app.config.per_model import config_of_model
from edge_app.errors import EdgeAppError
from edge_app.ops.sd_notify import notify


def open_models(
    config: AppConfig,
    fleet: Fleet,
    detectors: dict[str | None, Detector],
    starting: Callable[[str], None],
    stop: threading.Event,
) -> bool:
    """Open the models that have cameras, one after the other.

    Args:
        config: Of all of them.
        fleet: The cameras, of which the frames then lie where the models can read them fast.
        detectors: Gets what is open, by model, also when a later one fails.
        starting: Gets the reason why the node is not running yet.
        stop: Ends it.

    Returns:
        Whether all are open; False: it was stopped before.

    Raises:
        ModelError, BackendError, EngineError: One cannot be run.
    """
    for name in fleet.lanes:
        own = config_of_model(config, name)
        shown = name or Path(own.model.path).stem
        progress = BuildWatch(shown, starting)
        notify(f"STATUS=opening the model {shown}")
        try:
            detector = open_detector(own, configured_name=name, emit=progress, cancelled=stop.is_set)
        except EdgeAppError as error:
            if name is not None:
                error.message = f"models.{name}: {error.message}"
            raise
        if stop.is_set():
            detector.backend.close()
            return False
        detectors[name] = detector
        fleet.memory[name].model = detector.memory
    return True
