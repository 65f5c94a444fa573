"""The street of a configuration under one load after another: the same wherever it is measured."""

from __future__ import annotations

from edge_app.app.decoders import find_decoders
from edge_app.app.detector import Detector
from edge_app.bench.memory_camera import KeptMemory
from edge_app.bench.street import MEMORY, SCENE, Load, StreetSpeed, measure_street
from edge_app.capture.pool import OrdinaryMemory
from edge_app.config.models import AppConfig
from edge_app.interfaces import VideoDecoders


class ConfiguredStreet:
    """A model, open, with what the configuration says of batches and of decoding.

    Args:
        config: The configuration.
        detector: Its model.
    """

    def __init__(self, config: AppConfig, detector: Detector) -> None:
        self._detector = detector
        # What runs decides, also where the configuration leaves it open or a benchmark replaced it.
        backend = detector.backend.model.backend
        self._inference = config.inference.model_copy(update={"backend": backend})
        self._memory = KeptMemory(detector.memory or OrdinaryMemory())

    def decoders(self, load: Load) -> VideoDecoders | None:
        """Return what decodes the load's source on the model's GPU; None where nothing does."""
        return None if load.source in {MEMORY, SCENE} else find_decoders(self._inference)

    def measure(self, load: Load) -> StreetSpeed:
        """Measure a load; raises as `measure_street` does."""
        return measure_street(
            self._detector,
            load,
            batch_wait_s=self._inference.batch_wait_ms / 1e3,
            max_age_s=self._inference.max_age_ms / 1e3,
            memory=self._memory,
            decoders=self.decoders(load),
        )
