"""From a configuration to the backend that runs its engine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from edge_app.app.engines import Engines
from edge_app.app.model import head_factory
from edge_app.app.verification import plan_of
from edge_app.config.models import AppConfig, InputOverrides
from edge_app.engine.errors import BuildError, DamagedEngineError, RefusedEngineError
from edge_app.engine.events import EventSink
from edge_app.engine.obtain import ObtainedEngine
from edge_app.engine.store import StoredEngine
from edge_app.errors import CaptureError
from edge_app.gpu.engine import UnloadableEngineError
from edge_app.infer.model import ModelDescription
from edge_app.infer.tensorrt import TensorRtBackend

logger = logging.getLogger(__name__)


def open_engine_backend(
    config: AppConfig, description: ModelDescription, *, emit: EventSink, cancelled: Callable[[], bool]
) -> TensorRtBackend:
    """Obtain the engine of a configuration, load it and run it once.

    If no good engine can be built, be it for want of frames, the last good one of the model serves instead,
    with the model, labels and head it was built with; that is logged as an error. An engine of the store
    that TensorRT does not load, although all that is known of it fits, is built again.

    Raises:
        EngineError, BackendError, ModelError: No engine can be had, or it does not run.
    """
    engines = Engines(config, description, emit=emit, cancelled=cancelled)
    try:
        return _obtain_and_open(config, engines)
    except (BuildError, RefusedEngineError, CaptureError) as error:
        last = None if cancelled() else _last_good(engines)
        if last is None:
            raise
        logger.error("%s", error)  # noqa: TRY400 - the message is for a person, the daemon goes on
        engine, plan = last
        words, event = "serving with the last good engine instead, %s", {"event": "engine_last_good"}
        logger.error(words, engine.plan_path.name, extra=event)  # noqa: TRY400
        return open_engine(config, serving_description(engines.description, engine), engine, plan)


def open_engine(
    config: AppConfig, description: ModelDescription, engine: StoredEngine, plan: bytes
) -> TensorRtBackend:
    """Load an engine and run it once.

    Args:
        config: Slots, batch size, device and thresholds.
        description: What the engine was built from.
        engine: The engine.
        plan: Its plan, checked by the store.

    Raises:
        ModelError, BackendError: It cannot be loaded or run.
    """
    backend = TensorRtBackend(
        description,
        plan_of(engine, plan),
        config.inference,
        head_factory(description, config.postprocess),
        iou_threshold=config.postprocess.iou_threshold,
        device=config.inference.device,
    )
    backend.open()
    return backend


def serving_description(description: ModelDescription, engine: StoredEngine) -> ModelDescription:
    """Return what an engine was built from, for serving with it although the model has changed since."""
    kept = engine.manifest.serving
    labels = kept.get("labels")
    return replace(
        description,
        sha256=engine.manifest.identity.model_sha256,
        labels=None if labels is None else tuple(labels),
        head=str(kept.get("head", description.head)),
        input=InputOverrides.model_validate(kept.get("input", {}), strict=False),
    )


def _obtain_and_open(config: AppConfig, engines: Engines) -> TensorRtBackend:
    obtained = engines.obtain()
    _tell(obtained)
    try:
        return open_engine(config, engines.description, obtained.engine, obtained.plan)
    except UnloadableEngineError as error:
        if obtained.reasons:
            raise
        logger.warning("building it again: %s", error)
    obtained = engines.obtain(rebuild=True)
    return open_engine(config, engines.description, obtained.engine, obtained.plan)


def _tell(obtained: ObtainedEngine) -> None:
    why = "; ".join(obtained.reasons)
    name = obtained.engine.plan_path.name
    logger.info("engine %s: %s", name, f"built, as {why}" if why else "found in the store")


def _last_good(engines: Engines) -> tuple[StoredEngine, bytes] | None:
    engine = engines.last_good()
    if engine is None:
        return None
    try:
        return engine, engines.store.read(engine)
    except DamagedEngineError as error:
        logger.error("%s", error)  # noqa: TRY400 - the message is for a person
        return None
