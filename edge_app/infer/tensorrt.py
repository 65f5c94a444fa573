"""TensorRT on the GPU: batches in flight on streams of their own.

A batch goes to the GPU as it was captured. Letterbox, engine and decoding follow one another there, launched
as one CUDA graph, and only what was found comes back.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edge_app.config.models import InferenceSection
from edge_app.errors import BackendError
from edge_app.geometry import InputSpec
from edge_app.gpu.context import Gpu, open_gpu
from edge_app.gpu.decode import GridDecoder, can_decode
from edge_app.gpu.engine import LoadedEngine
from edge_app.gpu.feed import FrameFeed
from edge_app.gpu.graph import graph_driver
from edge_app.gpu.kernels import load_kernels
from edge_app.gpu.letterbox import LetterboxKernel
from edge_app.gpu.memory import PinnedPixels
from edge_app.gpu.ranges import nvtx_range
from edge_app.gpu.slot import ExecutionSlot
from edge_app.gpu.tensorrt_api import load_tensorrt
from edge_app.infer.model import ModelDescription
from edge_app.infer.tensorrt_input import ImageInput
from edge_app.interfaces import (
    BatchResult,
    BatchTimings,
    Head,
    HeadFactory,
    Pending,
    Slot,
    TensorMap,
)
from edge_app.messages import Candidates, Frame, FrameInfo, ModelInfo

logger = logging.getLogger(__name__)

WARM_UP_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 5.0

GRAPH_SIZES = (1, 2, 4)
"""Batch sizes with a graph of their own, besides the largest; others are filled up to the next."""

SLOTS = (2, 6)
"""Fewest and most batches in flight, where the configuration leaves it open."""
WORTHWHILE = 1.03
"""One more batch in flight must bring this much."""
TRIAL_BATCHES = 24
TRIAL_SHAPE = (1080, 1920, 3)
"""What most cameras send."""


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


@dataclass(frozen=True, slots=True, eq=False)
class _Tuning:
    """How a batch's output is decoded."""

    head: Head
    iou_threshold: float


class _GpuSlot:
    """An execution slot, used by one thread at a time, and the tuning that its batch goes by."""

    def __init__(self, execution: ExecutionSlot, tuning: _Tuning) -> None:
        self.execution = execution
        self.tuning = tuning
        self.lock = threading.Lock()


class _GpuPending:
    """A batch that the GPU runs; resolved once."""

    def __init__(
        self,
        backend: TensorRtBackend,
        slot: _GpuSlot,
        frames: Sequence[Frame],
        count: int,
        preprocess_ms: float,
    ) -> None:
        self._backend = backend
        self._slot = slot
        self._frames = frames
        self._count = count
        self._preprocess_ms = preprocess_ms
        self._timeout_s = 0.0

    def result(self, timeout_s: float) -> _GpuPending:
        """Wait for the batch; see `Pending.result`."""
        self._timeout_s = timeout_s
        return self

    def __enter__(self) -> BatchResult:
        """Wait for the batch and lend its result."""
        try:
            return self._backend.finish(self._slot, self._count, self._preprocess_ms, self._timeout_s)
        except BaseException:
            self._give_back()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give slot and leases back."""
        self._give_back()

    def _give_back(self) -> None:
        for frame in self._frames:
            frame.release()
        self._backend.release(self._slot)


class TensorRtBackend:
    """Runs an engine on a GPU; a `Backend`.

    Args:
        description: The model that the engine was built from, with its labels.
        plan: The engine.
        section: Slots and batch size.
        make_head: Called once the outputs are known.
        iou_threshold: Boxes of one class that overlap more are one object.
        device: Number of the GPU.
    """

    def __init__(
        self,
        description: ModelDescription,
        plan: Plan,
        section: InferenceSection,
        make_head: HeadFactory,
        *,
        iou_threshold: float,
        device: int = 0,
    ) -> None:
        self._model_on_disk = description
        self._plan = plan
        self._section = section
        self._make_head = make_head
        self._iou_threshold = iou_threshold
        self._tuning: _Tuning | None = None
        self._device = device
        self._graphs = False
        self._decodes_on_gpu = False
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
    def slot_count(self) -> int:
        """Most batches in flight; known once open."""
        return len(self._slots)

    @property
    def description(self) -> str:
        """One line for the log; known once open."""
        gpu = "?" if self._gpu is None else f"{self._gpu.ordinal} ({self._gpu.name})"
        return (
            f"TensorRT {load_tensorrt().__version__} on GPU {gpu}, {self._plan.precision}, "
            f"engine {self._engine_sha256[:12]}, "
            f"batch 1 to {self._max_batch}, {len(self._slots)} slots, "
            f"{'CUDA graphs' if self._graphs else 'no CUDA graphs'}, "
            f"decoded on the {'GPU' if self._decodes_on_gpu else 'CPU'}"
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
                self._add_slots(self._gpu, self._engine)
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
        """Enqueue a batch. Page-locked frames are released when it is done, others at once."""
        slot = cast("_GpuSlot", slot)
        started = time.perf_counter()
        held: Sequence[Frame] = ()
        try:
            if not 1 <= len(frames) <= self._max_batch:
                raise BackendError(f"a batch holds 1 to {self._max_batch} frames, found {len(frames)}")
            with slot.lock, self._attach(), nvtx_range("enqueue"):
                if self._tuning is not None and slot.tuning is not self._tuning:
                    self._tune(slot, self._tuning)
                slot.execution.enqueue(self._sizes[len(frames)], frames)
            # The GPU copies page-locked frames by itself, when their turn comes.
            held = [frame for frame in frames if frame.pinned]
        except BaseException:
            self.release(slot)
            raise
        finally:
            for frame in frames:
                if not held or not frame.pinned:
                    frame.release()
        preprocess_ms = (time.perf_counter() - started) * 1e3
        return _GpuPending(self, slot, held, len(frames), preprocess_ms)

    def finish(self, slot: _GpuSlot, count: int, preprocess_ms: float, timeout_s: float) -> BatchResult:
        """Wait for a slot's batch and decode its first `count` images. Raises like `Pending.result`.

        The inference time is the GPU's: from the start of the copy-in to the end of the copy-out, letterbox
        included.
        """
        with slot.lock, self._attach():
            with nvtx_range("wait"):
                outputs, inference_ms = slot.execution.wait(timeout_s)
            started = time.perf_counter()
            with nvtx_range("candidates"):
                candidates = self._candidates(slot.execution, slot.tuning, outputs, count)
            decode_ms = (time.perf_counter() - started) * 1e3
        return BatchResult(candidates, BatchTimings(preprocess_ms, inference_ms, decode_ms))

    @property
    def on_disk(self) -> ModelDescription:
        """The model that is served, as it is on disk or was when its engine was built."""
        return self._model_on_disk

    @property
    def fixed_candidates(self) -> bool:
        """Whether `max_candidates` cannot change any more: the GPU decodes into memory of that size."""
        return self._decodes_on_gpu

    def retune(self, make_head: HeadFactory, iou_threshold: float) -> None:
        """Decode every batch that is submitted from now on with other thresholds. Any thread.

        Raises:
            ModelError: The head does not fit.
        """
        if self._engine is None:
            return
        head = make_head(tuple(self._engine.outputs.values()), self._input.spec, self._model_on_disk.labels)
        self._tuning = _Tuning(head, iou_threshold)

    def allocate(self, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], bool]:
        """Return page-locked memory for a frame; see `PixelMemory`."""
        if self._gpu is None:
            raise BackendError("the backend is not open")
        return PinnedPixels(self._gpu, shape).array(), True

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

    def _attach(self) -> AbstractContextManager[None]:
        """Attach the thread to the GPU; the slot's lock is held, so that it cannot be closed meanwhile."""
        if self._engine is None or self._gpu is None:
            raise BackendError("the backend is not open")
        return self._gpu.attach()

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
        # Without graphs nothing has to be filled up, but to what the engine takes.
        self._sizes = [max(count, self._min_batch) for count in range(self._max_batch + 1)]
        labels = self._model_on_disk.labels
        head = self._make_head(tuple(engine.outputs.values()), self._input.spec, labels)
        self._tuning = _Tuning(head, self._iou_threshold)
        self._model = ModelInfo(
            name=self._model_on_disk.name,
            sha256=self._model_on_disk.sha256,
            labels=labels or (),
            backend="tensorrt",
            precision=self._plan.precision,
            engine_sha256=self._engine_sha256,
        )

    def _add_slots(self, gpu: Gpu, engine: LoadedEngine) -> None:
        """Add as many slots as are configured, or as bring something."""
        wanted = self._section.slots
        least, most = SLOTS if wanted is None else (wanted, wanted)
        trial = _trial_frame(PinnedPixels(gpu, TRIAL_SHAPE)) if wanted is None else None
        rate = 0.0
        while len(self._slots) < most:
            self._add_slot(gpu, engine)
            if trial is None or len(self._slots) < least:
                continue
            before, rate = rate, self._trial_rate([trial] * self._max_batch)
            if before and rate < WORTHWHILE * before:
                # This one brings the GPU nothing, but hides what the host does between two batches.
                break

    def _add_slot(self, gpu: Gpu, engine: LoadedEngine) -> None:
        execution = engine.add_slot({self._input.name: self._input.shape}, self._max_batch)
        kernel = LetterboxKernel(
            load_kernels(gpu, "letterbox").get_function("letterbox"), self._input.spec, self._input.dtype
        )
        execution.feed_with(FrameFeed(kernel, self._max_batch, integrated=gpu.integrated, device=gpu.ordinal))
        tuning = self._tuning
        assert tuning is not None  # noqa: S101 - made just before
        grid = tuning.head.grid
        output = None if grid is None else engine.outputs[grid.output]
        if grid is not None and output is not None and can_decode(grid, output.shape, output.dtype):
            anchors, module = cast("int", output.shape[2]), load_kernels(gpu, "decode")
            decoder = GridDecoder(module, grid, anchors, output.dtype, self._max_batch, tuning.iou_threshold)
            execution.decode_with(decoder, grid.output)
        self._decodes_on_gpu = execution.decoder is not None
        self._slots.append(_GpuSlot(execution, tuning))
        self._capture(execution)
        for batch in sorted(set(self._sizes[1:])):
            self._run_empty(execution, tuning, batch)

    @staticmethod
    def _tune(slot: _GpuSlot, tuning: _Tuning) -> None:
        """Let a slot that has no batch decode the next one by another tuning."""
        grid = tuning.head.grid
        if grid is not None:
            slot.execution.retune(grid, tuning.iou_threshold)
        slot.tuning = tuning

    def _capture(self, execution: ExecutionSlot) -> None:
        """Record the graphs of a slot; where that cannot be, all slots do without, and the log says why."""
        if not self._graphs and len(self._slots) > 1:
            return
        sizes = sorted(
            {size for size in (*GRAPH_SIZES, self._max_batch) if self._min_batch <= size <= self._max_batch}
        )
        try:
            if graph_driver() is None:
                raise BackendError("the package cuda-bindings is not installed")
            execution.capture(sizes)
        except BackendError as error:
            execution.forget_graphs()
            self._graphs = False
            logger.warning("batches are enqueued call by call, without CUDA graphs: %s", error)
            return
        self._graphs = True
        self._sizes = [next(size for size in sizes if size >= count) for count in range(self._max_batch + 1)]

    def _run_empty(self, execution: ExecutionSlot, tuning: _Tuning, batch: int) -> None:
        execution.enqueue(batch, ())
        outputs, _ = execution.wait(WARM_UP_TIMEOUT_S)
        self._candidates(execution, tuning, outputs, batch)

    def _trial_rate(self, frames: Sequence[Frame]) -> float:
        """Return how many full batches a second all slots together run."""
        batch = self._sizes[self._max_batch]
        slots = [slot.execution for slot in self._slots]
        started = time.perf_counter()
        for number in range(TRIAL_BATCHES + len(slots)):
            execution = slots[number % len(slots)]
            if number >= len(slots):
                execution.wait(WARM_UP_TIMEOUT_S)
            if number < TRIAL_BATCHES:
                execution.enqueue(batch, frames)
        return TRIAL_BATCHES / (time.perf_counter() - started)

    @staticmethod
    def _candidates(
        execution: ExecutionSlot, tuning: _Tuning, outputs: TensorMap, count: int
    ) -> Sequence[Candidates]:
        if execution.decoder is not None:
            return execution.decoder.candidates(count)
        return tuning.head.decode(outputs, count)


class _TrialLease:
    """Page-locked memory that nobody wants back."""

    pinned = True

    def release(self) -> None:
        """Nothing to give back."""


def _trial_frame(memory: PinnedPixels) -> Frame:
    height, width, _ = TRIAL_SHAPE
    return Frame(FrameInfo("trial", 0, 0, 0, width, height), memory.array(), lease=_TrialLease())
