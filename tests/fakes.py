"""Stand-ins for parts that have a device or a network behind them; each keeps its protocol's promises."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np

from edge_app.errors import BackendError
from edge_app.geometry import InputSpec
from edge_app.interfaces import BatchResult, BatchTimings, Pending, Slot
from edge_app.messages import Candidates, Frame, ModelInfo

Answer = Callable[[Frame], Candidates]


def candidates(*rows: tuple[float, float, float, float, float, int]) -> Candidates:
    """Candidates from rows of x1, y1, x2, y2, confidence, class id."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Candidates(table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int32))


class AnsweringBackend:
    """A Backend in memory: `answer` says what the model sees in a frame.

    `batches` lists the sizes of the batches so far; `free_slots` equals `slots` when nothing is in flight.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        labels: Sequence[str] = ("thing",),
        max_batch: int = 4,
        slots: int = 1,
        input_spec: InputSpec | None = None,
    ) -> None:
        self.model = ModelInfo("answering", "0" * 64, tuple(labels), "memory", "fp32")
        self.input_spec = input_spec or InputSpec(64, 64)
        self.max_batch = max_batch
        self.slot_count = 2
        self.description = "answers in memory"
        self.batches: list[int] = []
        self._answer = answer
        self._slots: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for _ in range(slots):
            self._slots.put(object())

    @property
    def free_slots(self) -> int:
        return self._slots.qsize()

    def open(self) -> None: ...

    def close(self) -> None: ...

    def acquire(self, timeout_s: float) -> Slot | None:
        try:
            return self._slots.get(timeout=min(timeout_s, 5.0))
        except queue.Empty:
            return None

    def release(self, slot: Slot) -> None:
        self._slots.put(slot)

    def submit(self, slot: Slot, frames: Sequence[Frame]) -> Pending:
        if not 1 <= len(frames) <= self.max_batch:
            raise BackendError(f"a batch holds 1 to {self.max_batch} frames, found {len(frames)}")
        self.batches.append(len(frames))
        answers = [self._answer(frame) for frame in frames]
        for frame in frames:
            frame.release()
        return _Answered(self, slot, answers)


class _Answered:
    def __init__(self, backend: AnsweringBackend, slot: Slot, answers: Sequence[Candidates]) -> None:
        self._backend, self._slot, self._answers = backend, slot, answers

    def result(self, timeout_s: float) -> AbstractContextManager[BatchResult]:
        return self._lend()

    @contextmanager
    def _lend(self) -> Iterator[BatchResult]:
        try:
            count = len(self._answers)
            yield BatchResult(self._answers, BatchTimings(1.0 * count, 10.0 * count, 0.5 * count))
        finally:
            self._backend.release(self._slot)
