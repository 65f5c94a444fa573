"""TensorRT on the GPU: batches in flight on streams of their own, letterboxed into page-locked memory."""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from edge_app.config.models import InferenceSection
from edge_app.errors import BackendError
from edge_app.geometry import InputSpec
from edge_app.gpu.context import Gpu, open_gpu
from edge_app.gpu.engine import LoadedEngine
from edge_app.gpu.slot import ExecutionSlot
from edge_app.gpu.tensorrt_api import load_tensorrt
from edge_app.infer.model import ModelDescription
from edge_app.infer.tensorrt_input import ImageInput
from edge_app.interfaces import (
    BatchResult,
    BatchTimings,
    HeadFactory,
    Pending,
    PreprocessorFactory,
    Slot,
)
from edge_app.messages import Frame, ModelInfo

logger = logging.getLogger(__name__)

WARM_UP_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A serialised engine, checked by whoever built or found it.

    Attributes:
        content: The plan as TensorRT wrote it. An engine is code: what was checked is what runs, so it is
            never read again from its path.
        source: Its file, for messages.
        precision: What it computes in: fp32, fp16 or int8.
        host_code: Whether it brings code for the CPU too, as version-compatible engines do.
    """

    content: bytes = field(repr=False)
    source: Path
    precision: str
    host_code: bool = False


class _GpuSlot:
    """An execution slot, used by one thread at a time."""

    def __init__(self, execution: ExecutionSlot) -> None:
        self.execution = execution
        self.lock = threading.Lock()


class _GpuPending:
    """A batch that the GPU runs; resolved once."""

    def __init__(self, backend: TensorRtBackend, slot: _GpuSlot, count: int, preprocess_ms: float) -> None:
        self._backend = backend
        self._slot = slot
        self._count = count
        self._preprocess_ms = preprocess_ms

    @contextmanager
    def result(self, timeout_s: float) -> Iterator[BatchResult]:
        """Wait for the batch; see `Pending.result`."""
        try:
            yield self._backend.finish(self._slot, self._count, self._preprocess_ms, timeout_s)
        finally:
            self._backend.release(self._slot)


class TensorRtBackend:
    """Runs an engine on a GPU; a `Backend`.

    Args:
        description: The model that the engine was built from, with its labels.
        plan: The engine.
        section: Slots and batch size.
        make_preprocessor: Called once the input is known.
        make_head: Called once the outputs are known.
        device: Number of the GPU.
    """

    def __init__(
        self,
        description: ModelDescription,
        plan: Plan,
        section: InferenceSection,
        make_preprocessor: PreprocessorFactory,
        make_head: HeadFactory,
        device: int = 0,
    ) -> None:
        self._model_on_disk = description
        self._plan = plan
        self._section = section
        self._make_preprocessor = make_preprocessor
        self._make_head = make_head
        self._device = device
        self._free: queue.SimpleQueue[_GpuSlot] = queue.SimpleQueue()
        self._slots: list[_GpuSlot] = []
        self._gpu: Gpu | None = None
        self._engine: LoadedEngine | None = None
        self._closing = threading.Lock()

    @property
    def model(self) -> ModelInfo:
        """What runs; known once open."""
        return self._model

    @property
    def input_spec(self) -> InputSpec:
        """What the model's input wants; known once open."""
        return self._input.spec

    @property
    def max_batch(self) -> int:
        """Most frames that one batch can hold; known once open."""
        return self._max_batch

    @property
    def description(self) -> str:
        """One line for the log; known once open."""
        gpu = "?" if self._gpu is None else f"{self._gpu.ordinal} ({self._gpu.name})"
        return (
            f"TensorRT {load_tensorrt().__version__} on GPU {gpu}, {self._plan.precision}, "
            f"engine {self._engine_sha256[:12]}, "
            f"batch 1 to {self._max_batch}, {self._section.slots} slots"
        )

    def open(self) -> None:
        """Load the engine and run it with every batch size. Call it once.

        Raises:
            ModelError: The engine cannot be loaded, fed or decoded.
            BackendError: CUDA or TensorRT cannot be used, or failed.
        """
        self._gpu = open_gpu(self._device)
        try:
            with self._gpu.attach():
                self._engine = self._load(self._gpu)
                self._prepare(self._engine)
                self._warm_up()
        except BaseException:
            self.close()
            raise
        for slot in self._slots:
            self._free.put(slot)

    def acquire(self, timeout_s: float) -> _GpuSlot | None:
        """Return a free slot, or None if none came free within `timeout_s` seconds."""
        try:
            return self._free.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def submit(self, slot: Slot, frames: Sequence[Frame]) -> Pending:
        """Letterbox the frames into the slot, enqueue the batch, and return the frames' leases."""
        slot = cast("_GpuSlot", slot)
        started = time.perf_counter()
        batch = max(len(frames), self._min_batch)
        try:
            if not 1 <= len(frames) <= self._max_batch:
                raise BackendError(f"a batch holds 1 to {self._max_batch} frames, found {len(frames)}")
            with self._using(slot):
                image = slot.execution.inputs(batch)[self._input.name]
                self._input.write(self._preprocessor, frames, image)
                preprocess_ms = (time.perf_counter() - started) * 1e3
                slot.execution.enqueue(batch)
        except BaseException:
            self.release(slot)
            raise
        finally:
            for frame in frames:
                frame.release()
        return _GpuPending(self, slot, len(frames), preprocess_ms)

    def finish(self, slot: _GpuSlot, count: int, preprocess_ms: float, timeout_s: float) -> BatchResult:
        """Wait for a slot's batch and decode its first `count` images. Raises like `Pending.result`.

        The inference time is the GPU's: from the start of the copy-in to the end of the copy-out.
        """
        with self._using(slot):
            outputs, inference_ms = slot.execution.wait(timeout_s)
            started = time.perf_counter()
            candidates = self._head.decode(outputs, count)
            decode_ms = (time.perf_counter() - started) * 1e3
        return BatchResult(candidates, BatchTimings(preprocess_ms, inference_ms, decode_ms))

    def release(self, slot: Slot) -> None:
        """Give back a slot."""
        self._free.put(cast("_GpuSlot", slot))

    def close(self) -> None:
        """Finish what is in flight, then free everything. Idempotent."""
        with self._closing:
            engine, self._engine = self._engine, None
        if engine is None or self._gpu is None:
            return
        # From here on nobody starts to use a slot; who does use one now is waited for.
        held = [slot for slot in self._slots if slot.lock.acquire(timeout=CLOSE_TIMEOUT_S)]
        try:
            if len(held) < len(self._slots):
                raise BackendError("a batch is still being waited for")
            with self._gpu.attach():
                engine.close(CLOSE_TIMEOUT_S)
        except BackendError as error:
            logger.warning("the GPU's memory is freed only when the process ends: %s", error)
        finally:
            for slot in held:
                slot.lock.release()

    @contextmanager
    def _using(self, slot: _GpuSlot) -> Iterator[None]:
        with slot.lock:
            if self._engine is None or self._gpu is None:
                raise BackendError("the backend is not open")
            with self._gpu.attach():
                yield

    def _load(self, gpu: Gpu) -> LoadedEngine:
        plan = self._plan
        engine = LoadedEngine(gpu, plan.content, plan.source, host_code=plan.host_code)
        self._engine_sha256 = hashlib.sha256(plan.content).hexdigest()
        # TensorRT has copied it; on a Jetson it would be held twice in the same memory.
        self._plan = replace(plan, content=b"")
        return engine

    def _prepare(self, engine: LoadedEngine) -> None:
        self._input = ImageInput(self._model_on_disk, engine, self._plan.source)
        self._min_batch, self._max_batch = engine.min_batch, engine.max_batch
        if self._min_batch < self._max_batch:
            self._max_batch = max(self._min_batch, min(self._max_batch, self._section.max_batch))
        if self._max_batch < self._section.max_batch:
            logger.warning(
                "the engine takes batches of up to %d, inference.max_batch is %d",
                self._max_batch,
                self._section.max_batch,
            )
        labels = self._model_on_disk.labels
        self._preprocessor = self._make_preprocessor(self._input.spec)
        self._head = self._make_head(tuple(engine.outputs.values()), self._input.spec, labels)
        self._model = ModelInfo(
            name=self._model_on_disk.name,
            sha256=self._model_on_disk.sha256,
            labels=labels or (),
            backend="tensorrt",
            precision=self._plan.precision,
            engine_sha256=self._engine_sha256,
        )
        for _ in range(self._section.slots):
            slot = engine.add_slot({self._input.name: self._input.shape}, self._max_batch)
            self._slots.append(_GpuSlot(slot))

    def _warm_up(self) -> None:
        """Run every batch size once, so that the first frames do not wait for kernels to be loaded."""
        every = range(self._min_batch, self._max_batch + 1)
        for number, slot in enumerate(self._slots):
            sizes: Iterable[int] = every if number == 0 else {every[0], every[-1]}
            for batch in sizes:
                slot.execution.inputs(batch)
                slot.execution.enqueue(batch)
                outputs, _ = slot.execution.wait(WARM_UP_TIMEOUT_S)
                self._head.decode(outputs, batch)
