"""A model with what comes before and after it, on the runtime that this machine has."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from edge_app.app.model import describe, head_factory
from edge_app.config.models import AppConfig, InferenceSection, PostprocessSection
from edge_app.engine.errors import EngineError
from edge_app.engine.events import EventSink
from edge_app.errors import BackendError
from edge_app.gpu.driver import count_gpus
from edge_app.infer.model import ModelDescription
from edge_app.infer.onnxruntime import OnnxRuntimeBackend
from edge_app.interfaces import Backend, HeadFactory, PixelMemory
from edge_app.pipeline.street import Detect
from edge_app.postprocess.postprocessor import Postprocessor
from edge_app.preprocess.letterbox import CpuPreprocessor

logger = logging.getLogger(__name__)

WAY_OUT = "To run on the CPU, slowly, write inference.backend: onnxruntime."


@runtime_checkable
class Tunable(Protocol):
    """A backend whose thresholds may change while it runs."""

    @property
    def on_disk(self) -> ModelDescription:
        """The model that is served."""

    @property
    def fixed_candidates(self) -> bool:
        """Whether `max_candidates` cannot change any more."""

    def retune(self, make_head: HeadFactory, iou_threshold: float) -> None:
        """Decode with other thresholds from now on. Any thread; raises ModelError."""


@dataclass(frozen=True, slots=True)
class Detector:
    """A model with what comes before and after it."""

    backend: Backend
    detect: Detect
    memory: PixelMemory | None = None
    """What cameras had best decode into; None: ordinary memory."""
    postprocessor: Postprocessor | None = None
    """What `detect` belongs to."""

    def check(self, section: PostprocessSection) -> None:
        """Raise ConfigError if a section does not fit the model."""
        if self.postprocessor is not None:
            self.postprocessor.check(section)

    def retune(self, section: PostprocessSection) -> PostprocessSection:
        """Use other thresholds and limits from now on; return those that are in force then. Any thread.

        Raises:
            ModelError: They do not fit.
        """
        if self.postprocessor is None or not isinstance(self.backend, Tunable):
            raise TypeError(f"the thresholds of {type(self.backend).__name__} cannot be changed")
        if self.backend.fixed_candidates:
            kept = self.postprocessor.section.max_candidates
            section = section.model_copy(update={"max_candidates": kept})
        self.backend.retune(head_factory(self.backend.on_disk, section), section.iou_threshold)
        self.postprocessor.retune(section)
        return section


def choose_backend(section: InferenceSection) -> tuple[str, str]:
    """Return the name of the backend to use, and why.

    `auto` takes the GPU where there is one: a GPU that then fails is an error, never a reason for the CPU.

    Raises:
        BackendError: The NVIDIA driver does not work.
    """
    if section.backend != "auto":
        return section.backend, "inference.backend says so"
    gpus = count_gpus()
    if gpus:
        return "tensorrt", f"this machine has {gpus} NVIDIA GPU{'s' if gpus > 1 else ''}"
    return "onnxruntime", "this machine has no NVIDIA GPU"


def open_detector(
    config: AppConfig,
    *,
    configured_name: str | None = None,
    emit: EventSink = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Detector:
    """Load the model of a configuration and run it once; with TensorRT, obtain its engine first.

    Args:
        config: Model, inference, engine and postprocess sections count.
        configured_name: The model's name below `models`, for the log; None: it is the one of `model`.
        emit: Told of the progress of a build.
        cancelled: Asked often; a build is ended once it is true.

    Raises:
        ConfigError, ModelError: What the configuration says of it does not fit, or the file is no model.
        BackendError, EngineError: The runtime is missing or refuses it, or no engine can be had.
    """
    description = describe(config)
    name, reason = choose_backend(config.inference)
    whose = "" if configured_name is None else f"models.{configured_name}: "
    logger.info("%sbackend %s: %s", whose, name, reason)
    try:
        backend = _open_backend(name, config, description, emit, cancelled)
    except (BackendError, EngineError) as error:
        if name == "tensorrt":
            error.hint = f"{error.hint} {WAY_OUT}" if error.hint else WAY_OUT
        raise
    model = backend.model
    words, event = "%smodel %s (sha256 %s): %s", {"event": "model_open"}
    logger.info(words, whose, model.name, model.sha256[:12], backend.description, extra=event)
    return detector_of(backend, config.postprocess)


def detector_of(backend: Backend, section: PostprocessSection) -> Detector:
    """Return the detector around an open backend."""
    postprocessor = Postprocessor(backend.input_spec, section, backend.model.labels)
    memory = backend if isinstance(backend, PixelMemory) else None
    return Detector(backend, postprocessor.detections, memory, postprocessor)


def _open_backend(
    name: str,
    config: AppConfig,
    description: ModelDescription,
    emit: EventSink,
    cancelled: Callable[[], bool],
) -> Backend:
    if name == "tensorrt":
        # What belongs to engines is imported only where they run.
        from edge_app.app.engine_backend import open_engine_backend

        return open_engine_backend(config, description, emit=emit, cancelled=cancelled)
    make_head = head_factory(description, config.postprocess)
    backend = OnnxRuntimeBackend(description, config.inference, CpuPreprocessor, make_head)
    backend.open()
    return backend
