"""An engine beside its model: the same frames through TensorRT and through ONNX Runtime."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.app.model import head_factory
from edge_app.config.models import AppConfig
from edge_app.engine.options import Precision
from edge_app.engine.store import StoredEngine
from edge_app.engine.verify import (
    DEFAULT_THRESHOLDS,
    Boxes,
    EngineComparison,
    Observation,
    Thresholds,
    VerifyReport,
)
from edge_app.errors import BackendError
from edge_app.geometry import InputSpec
from edge_app.infer.model import ModelDescription
from edge_app.infer.onnxruntime import OnnxRuntimeBackend
from edge_app.infer.tensorrt import Plan, TensorRtBackend
from edge_app.interfaces import Backend, Head, HeadFactory, TensorMap, TensorSpec
from edge_app.messages import Candidates, Frame, Timings
from edge_app.postprocess.postprocessor import Postprocessor
from edge_app.preprocess.letterbox import CpuPreprocessor

BATCH_TIMEOUT_S = 300.0

MakeBackend = Callable[[HeadFactory], Backend]
"""Returns one side of the comparison, not yet open, with the head that it is given."""


def plan_of(engine: StoredEngine, plan: bytes) -> Plan:
    """Return a plan of the store, checked by it, as TensorRT is to load it."""
    identity = engine.manifest.identity
    host_code = identity.options.version_compatible
    return Plan(plan, engine.plan_path, identity.precision.value, host_code)


def compare_engine(
    config: AppConfig,
    description: ModelDescription,
    plan: Plan,
    precision: Precision,
    frames: Iterable[Frame],
) -> VerifyReport:
    """Run frames through an engine and through its model in FP32, and compare.

    The engine runs every frame alone and once more in a full batch, for which TensorRT has kernels of its
    own; the report is of the way that is further off.

    Args:
        config: Threads, device and thresholds.
        description: The model, with its labels.
        plan: The engine.
        precision: What it computes in, which decides how close it must be.
        frames: What to look at.

    Raises:
        ModelError, BackendError: One of the two cannot run.
    """
    section = config.inference.model_copy(update={"slots": 1})
    alone = section.model_copy(update={"max_batch": 1})
    return compare_backends(
        config,
        description,
        lambda head: OnnxRuntimeBackend(description, alone, CpuPreprocessor, head),
        lambda head: TensorRtBackend(
            description,
            plan,
            section,
            head,
            iou_threshold=config.postprocess.iou_threshold,
            device=section.device,
        ),
        precision,
        frames,
    )


def compare_backends(
    config: AppConfig,
    description: ModelDescription,
    make_reference: MakeBackend,
    make_candidate: MakeBackend,
    precision: Precision,
    frames: Iterable[Frame],
) -> VerifyReport:
    """Run frames through two backends of one model, and compare; see `compare_engine`."""
    limits = _thresholds(config, precision)
    with (
        _Witness(config, description, limits, make_reference).opened() as reference,
        _Witness(config, description, limits, make_candidate).opened() as candidate,
    ):
        sizes = dict.fromkeys((1, candidate.max_batch))
        comparisons = {batch: EngineComparison(precision, limits, batch) for batch in sizes}
        waiting = iter(frames)
        while window := list(itertools.islice(waiting, candidate.max_batch)):
            expected = [reference.observe([frame])[0] for frame in window]
            for batch, comparison in comparisons.items():
                for pair in zip(expected, _observed(candidate, window, batch), strict=True):
                    comparison.add(*pair)
    return min((comparison.report() for comparison in comparisons.values()), key=_closeness)


def _observed(witness: _Witness, frames: Sequence[Frame], batch: int) -> Iterator[Observation]:
    """Yield what a backend makes of each frame in batches that are always full: the last one repeats some."""
    for start in range(0, len(frames), batch):
        wanted = frames[start : start + batch]
        yield from witness.observe(list(itertools.islice(itertools.cycle(wanted), batch)))[: len(wanted)]


def _closeness(report: VerifyReport) -> tuple[bool, float, float]:
    rate = report.match_rate
    cosine = min(figures.cosine for figures in report.outputs.values())
    return report.passed, 1.0 if rate is None else rate, cosine


def _thresholds(config: AppConfig, precision: Precision) -> Thresholds:
    matched, defaults = config.engine.verification.matched, DEFAULT_THRESHOLDS[precision]
    return Thresholds(
        matched=defaults.matched if matched is None else matched,
        cosine=defaults.cosine,
        confidence=config.postprocess.confidence_threshold,
    )


class _RecordingHead:
    """A head that keeps a copy of the raw outputs it decoded last."""

    grid = None  # decoded on the device they would not be seen

    def __init__(self, head: Head) -> None:
        self._head = head
        self.name = head.name
        self.outputs: dict[str, NDArray[Any]] = {}

    def decode(self, outputs: TensorMap, batch: int) -> Sequence[Candidates]:
        """Decode; see `Head.decode`."""
        self.outputs = {name: np.array(value[:batch]) for name, value in outputs.items()}
        return self._head.decode(outputs, batch)


class _Witness:
    """One side of the comparison, with the outputs that its head decoded last."""

    def __init__(
        self, config: AppConfig, description: ModelDescription, limits: Thresholds, make: MakeBackend
    ) -> None:
        # Boxes a little below the threshold are wanted too: they come and go with the last bit.
        least = max(0.0, limits.confidence - limits.margin)
        changes = {"confidence_threshold": least, "class_confidence": {}, "classes": ()}
        self._section = config.postprocess.model_copy(update=changes)
        self._make_plain_head = head_factory(description, self._section)
        self._head: _RecordingHead
        self._backend = make(self._make_head)

    @property
    def max_batch(self) -> int:
        """Most frames of a batch; known once open."""
        return self._backend.max_batch

    @contextmanager
    def opened(self) -> Iterator[_Witness]:
        """Open the backend while the block runs."""
        self._backend.open()
        try:
            labels = self._backend.model.labels
            self._postprocessor = Postprocessor(self._backend.input_spec, self._section, labels)
            yield self
        finally:
            self._backend.close()

    def observe(self, frames: Sequence[Frame]) -> list[Observation]:
        """Run frames as one batch; return what was made of each."""
        slot = self._backend.acquire(BATCH_TIMEOUT_S)
        if slot is None:
            raise BackendError("no slot came free while an engine was verified")
        with self._backend.submit(slot, frames).result(BATCH_TIMEOUT_S) as result:
            return [
                self._observation(frame, candidates, index)
                for index, (frame, candidates) in enumerate(zip(frames, result.candidates, strict=True))
            ]

    def _observation(self, frame: Frame, candidates: Candidates, index: int) -> Observation:
        found = self._postprocessor.detections(frame.info, candidates, Timings())
        outputs = {name: value[index : index + 1] for name, value in self._head.outputs.items()}
        return Observation(outputs, Boxes(found.xyxy, found.confidence, found.class_id))

    def _make_head(
        self, outputs: Sequence[TensorSpec], spec: InputSpec, labels: tuple[str, ...] | None
    ) -> Head:
        self._head = _RecordingHead(self._make_plain_head(outputs, spec, labels))
        return self._head
