"""Walks a data set through the pipeline's own stages, and judges what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from edge_app.config.models import PostprocessSection
from edge_app.errors import BackendError
from edge_app.evaluate.average_precision import ApResult, AveragePrecision
from edge_app.evaluate.datasets import Dataset, Image, Sample
from edge_app.interfaces import Backend, Pending
from edge_app.messages import Frame, FrameInfo, ModelInfo, Timings
from edge_app.pipeline.street import Detect

CONFIDENCE_THRESHOLD = 0.001
"""Low enough that the precision at every recall is seen."""
MAX_DETECTIONS = 100
BATCH_TIMEOUT_S = 300.0

Progress = Callable[[int, int], None]
"""Called with the number of images done and of all images."""


def evaluation_settings(section: PostprocessSection) -> PostprocessSection:
    """Return `section` as average precision wants it: every class, next to no confidence threshold."""
    return section.model_copy(
        update={
            "confidence_threshold": CONFIDENCE_THRESHOLD,
            "class_confidence": {},
            "classes": (),
            "max_detections": MAX_DETECTIONS,
        }
    )


@dataclass(frozen=True, slots=True)
class Report:
    """What an evaluation found.

    Attributes:
        dataset: What was evaluated on, in words.
        model: What was evaluated.
        average_precision: How well.
        preprocess_ms: Mean of an image, as are the next two.
        inference_ms: Share that an image had in its batch.
        postprocess_ms: Decoding and non-maximum suppression.
        elapsed_s: All of it, reading or rendering the images included.
    """

    dataset: str
    model: ModelInfo
    average_precision: ApResult
    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float
    elapsed_s: float

    def as_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON has."""
        found = asdict(self.average_precision)
        return {
            "dataset": self.dataset,
            "model": {
                "name": self.model.name,
                "sha256": self.model.sha256,
                "backend": self.model.backend,
                "precision": self.model.precision,
            },
            **found,
            "ms_per_image": {
                "preprocess": round(self.preprocess_ms, 3),
                "inference": round(self.inference_ms, 3),
                "postprocess": round(self.postprocess_ms, 3),
            },
            "elapsed_s": round(self.elapsed_s, 3),
        }

    def table(self) -> str:
        """Return the figures as lines for a person."""
        found, model = self.average_precision, self.model
        width = max(len(label) for label in ("all", *(one.label for one in found.classes)))
        header = f"{'class':<{width}}  {'objects':>8}  {'recall':>6}  {'AP50':>6}  {'AP50-95':>7}"
        timing = (
            f"time     {self.elapsed_s:.1f} s; for each image {self.preprocess_ms:.2f} ms preprocess, "
            f"{self.inference_ms:.2f} ms inference, {self.postprocess_ms:.2f} ms postprocess"
        )
        lines = [
            f"model    {model.name} ({model.backend}, {model.precision}, sha256 {model.sha256[:12]})",
            f"images   {found.images} ({self.dataset})",
            f"objects  {found.truths}, and {found.ignored_truths} that are neither demanded nor punished",
            timing,
            "",
            header,
            "-" * len(header),
        ]
        rows = [(one.label, one.truths, one.recall50, one.ap50, one.ap50_95) for one in found.classes]
        rows.append(("all", found.truths, found.recall50, found.map50, found.map50_95))
        for label, truths, *figures in rows:
            recall, ap50, ap50_95 = ("-" if value is None else f"{value:.3f}" for value in figures)
            lines.append(f"{label:<{width}}  {truths:>8}  {recall:>6}  {ap50:>6}  {ap50_95:>7}")
        return "\n".join(lines)


def evaluate(backend: Backend, detect: Detect, dataset: Dataset, progress: Progress | None = None) -> Report:
    """Detect in every image of `dataset` and compare with its truth.

    While the model runs a batch, the images of the next one are read or rendered.

    Args:
        backend: The model, open; its head's confidence threshold should be `CONFIDENCE_THRESHOLD`.
        detect: Candidates of one frame to its detections, set up with `evaluation_settings`.
        dataset: What to look at; its truths are in the class ids of the model.
        progress: Told how far it is, after each batch.

    Raises:
        BackendError: The model failed.
        DatasetError: An image cannot be read.
    """
    started = time.perf_counter()
    walk = _Walk(backend, detect)
    samples = iter(dataset)
    while batch := [(sample, sample.load()) for sample in islice(samples, backend.max_batch)]:
        walk.collect()
        walk.submit(batch)
        if progress is not None:
            progress(walk.images, len(dataset))
    walk.collect()
    if progress is not None:
        progress(walk.images, len(dataset))
    return walk.report(dataset.description, time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch on its way through the model."""

    pending: Pending
    samples: Sequence[Sample]
    frames: Sequence[FrameInfo]


class _Walk:
    """One batch at a time through the model, and the sums of what came back."""

    def __init__(self, backend: Backend, detect: Detect) -> None:
        self._backend = backend
        self._detect = detect
        self._average_precision = AveragePrecision(backend.model.labels)
        self._batch: _Batch | None = None
        self._submitted = 0
        self._preprocess_ms = self._inference_ms = self._postprocess_ms = 0.0
        self.images = 0

    def submit(self, batch: Sequence[tuple[Sample, Image]]) -> None:
        """Hand the images to the model and return."""
        slot = self._backend.acquire(BATCH_TIMEOUT_S)
        if slot is None:
            raise BackendError(f"{self._backend.description}: no slot came free in {BATCH_TIMEOUT_S:.0f} s")
        frames = [self._frame(image) for _, image in batch]
        pending = self._backend.submit(slot, frames)
        self._batch = _Batch(pending, [sample for sample, _ in batch], [frame.info for frame in frames])

    def collect(self) -> None:
        """Wait for the batch that the model has, if any, and add it to the sums."""
        batch, self._batch = self._batch, None
        if batch is None:
            return
        with batch.pending.result(BATCH_TIMEOUT_S) as result:
            self._preprocess_ms += result.timings.preprocess_ms
            self._inference_ms += result.timings.inference_ms
            started = time.perf_counter()
            found = [
                self._detect(info, candidates, Timings())
                for info, candidates in zip(batch.frames, result.candidates, strict=True)
            ]
            self._postprocess_ms += result.timings.decode_ms + (time.perf_counter() - started) * 1e3
        for sample, detections in zip(batch.samples, found, strict=True):
            truth = sample.truth
            self._average_precision.add(
                truth.xyxy,
                truth.class_id,
                truth.ignore,
                detections.xyxy,
                detections.confidence,
                detections.class_id,
                truth_crowd=truth.crowd,
            )
        self.images += len(batch.samples)

    def report(self, dataset: str, elapsed_s: float) -> Report:
        """Return the figures."""
        images = max(self.images, 1)
        return Report(
            dataset=dataset,
            model=self._backend.model,
            average_precision=self._average_precision.result(),
            preprocess_ms=self._preprocess_ms / images,
            inference_ms=self._inference_ms / images,
            postprocess_ms=self._postprocess_ms / images,
            elapsed_s=elapsed_s,
        )

    def _frame(self, image: Image) -> Frame:
        height, width = image.shape[:2]
        self._submitted += 1
        info = FrameInfo(
            camera_id="evaluation",
            frame_id=self._submitted,
            captured_ns=time.monotonic_ns(),
            captured_at_ns=time.time_ns(),
            width=width,
            height=height,
        )
        return Frame(info, image)
