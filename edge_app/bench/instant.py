"""A model that answers at once: what then remains is the daemon's own work."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from types import TracebackType

import numpy as np

from edge_app.app.detector import Detector, detector_of
from edge_app.config.models import AppConfig
from edge_app.errors import BackendError
from edge_app.geometry import InputSpec
from edge_app.interfaces import BatchResult, BatchTimings, Pending, Slot
from edge_app.messages import Candidates, Frame, ModelInfo

NAME = "none"
OBJECTS = 10
LABELS = tuple(f"c{number}" for number in range(80))
SLOT_COUNT = 4
INPUT = InputSpec(640, 640)


class InstantBackend:
    """A `Backend` that finds the same ten objects in every frame, without looking at it.

    Args:
        max_batch: Most frames of a batch.
    """

    def __init__(self, max_batch: int) -> None:
        self.model = ModelInfo(NAME, "0" * 64, LABELS, NAME, NAME)
        self.input_spec = INPUT
        self.max_batch = max_batch
        self.slot_count = SLOT_COUNT
        self.description = f"no model: every frame is answered at once, batch 1 to {max_batch}"
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for _ in range(SLOT_COUNT):
            self._free.put(object())
        left, top = np.arange(OBJECTS) * 50 + 20, np.arange(OBJECTS) * 20 + 180
        self._xyxy = np.stack([left, top, left + 40, top + 60], axis=1).astype(np.float32)
        self._confidence = np.linspace(0.9, 0.4, OBJECTS, dtype=np.float32)
        self._class_id = np.arange(OBJECTS, dtype=np.int32)

    def open(self) -> None:
        """Nothing to load."""

    def acquire(self, timeout_s: float) -> Slot | None:
        """Return a free slot, or None if none came free within `timeout_s` seconds."""
        try:
            return self._free.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def submit(self, slot: Slot, frames: Sequence[Frame]) -> Pending:
        """Take over a batch."""
        if not 1 <= len(frames) <= self.max_batch:
            raise BackendError(f"a batch holds 1 to {self.max_batch} frames, found {len(frames)}")
        return _Answered(self, slot, frames)

    def release(self, slot: Slot) -> None:
        """Give back a slot."""
        self._free.put(slot)

    def close(self) -> None:
        """Nothing to free."""

    def answer(self) -> Candidates:
        """Return the objects of one frame, as a GPU's decoder does: suppressed and ordered."""
        return Candidates(
            self._xyxy.copy(), self._confidence.copy(), self._class_id.copy(), suppressed=True, ordered=True
        )


class _Answered:
    """A batch that is done."""

    def __init__(self, backend: InstantBackend, slot: Slot, frames: Sequence[Frame]) -> None:
        self._backend, self._slot, self._frames = backend, slot, frames

    def result(self, timeout_s: float) -> _Answered:  # noqa: ARG002 - it is done
        return self

    def __enter__(self) -> BatchResult:
        answers = [self._backend.answer() for _ in self._frames]
        return BatchResult(answers, BatchTimings(0.0, 0.0, 0.0))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for frame in self._frames:
            frame.release()
        self._backend.release(self._slot)


def instant_detector(config: AppConfig) -> Detector:
    """Return a detector that answers at once, with the configuration's batch size and thresholds."""
    return detector_of(InstantBackend(config.inference.max_batch), config.postprocess)
