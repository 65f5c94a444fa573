"""ONNX Runtime on the CPU: the embedded default where there is no GPU.

A slot is plain memory; one worker thread runs the session, so that the letterbox of the next batch
overlaps the inference of this one.
"""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from edge_app.config.models import InferenceSection
from edge_app.errors import BackendError, ModelError
from edge_app.geometry import InputSpec
from edge_app.infer.input_spec import resolve_input_spec
from edge_app.infer.label_metadata import labels_of_metadata
from edge_app.infer.model import ModelDescription
from edge_app.infer.worker import Worker
from edge_app.interfaces import (
    BatchResult,
    BatchTimings,
    HeadFactory,
    Pending,
    PreprocessorFactory,
    Slot,
    Tensor,
    TensorSpec,
)
from edge_app.messages import Candidates, Frame, ModelInfo

if TYPE_CHECKING:
    import onnxruntime

logger = logging.getLogger(__name__)

DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
PRECISIONS = {np.float32: "fp32", np.float16: "fp16"}

DEFAULT_SLOTS = 2
"""One batch is letterboxed while the other one runs."""

SLICE_S = 1.0
"""A wait for a batch is cut into such slices, each of which counts once; see `_outputs`."""

CLOSE_TIMEOUT_S = 0.5
"""Longest wait for a batch that runs: the street has waited for it before."""

BatchOutput = tuple[list[Tensor], float]
"""A batch's outputs, and how long inference took, in milliseconds."""


def session_options(threads: int, *, spinning: bool) -> onnxruntime.SessionOptions:
    """Return how a session runs: on so many threads, which wait or spin between two runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    options.log_severity_level = 3
    return options


class _CpuSlot:
    """Host memory for one batch in flight."""

    def __init__(self, tensor: NDArray[np.float32]) -> None:
        self.tensor = tensor
        self.images = tuple(tensor)
        """The same views every time: the preprocessor knows an output that it has filled before."""


class _CpuPending:
    """A batch that the worker runs; resolved once."""

    def __init__(
        self,
        backend: OnnxRuntimeBackend,
        slot: _CpuSlot,
        future: Future[BatchOutput],
        count: int,
        preprocess_ms: float,
    ) -> None:
        self._backend = backend
        self._slot = slot
        self._future = future
        self._count = count
        self._preprocess_ms = preprocess_ms

    @contextmanager
    def result(self, timeout_s: float) -> Iterator[BatchResult]:
        """Wait for the batch; see `Pending.result`."""
        try:
            outputs, inference_ms = self._outputs(timeout_s)
            started = time.perf_counter()
            candidates = self._backend.decode(outputs, self._count)
            decode_ms = (time.perf_counter() - started) * 1e3
            yield BatchResult(candidates, BatchTimings(self._preprocess_ms, inference_ms, decode_ms))
        finally:
            self._backend.release(self._slot)

    def _outputs(self, timeout_s: float) -> BatchOutput:
        """Wait in slices, each of which counts once: while the whole process stands still no time passes."""
        left_s = timeout_s
        while True:
            slice_s = min(SLICE_S, left_s)
            try:
                return self._future.result(slice_s)
            except FutureTimeoutError:
                left_s -= slice_s
            if left_s <= 0:
                raise BackendError(f"ONNX Runtime did not finish a batch within {timeout_s:.3g} s")


class OnnxRuntimeBackend:
    """Runs a model with ONNX Runtime's CPU provider; a `Backend`.

    Args:
        description: The model on disk.
        section: Threads, spinning, slots and batch size.
        make_preprocessor: Called once the input is known.
        make_head: Called once the outputs are known.
    """

    def __init__(
        self,
        description: ModelDescription,
        section: InferenceSection,
        make_preprocessor: PreprocessorFactory,
        make_head: HeadFactory,
    ) -> None:
        self._description = description
        self._section = section
        self._make_preprocessor = make_preprocessor
        self._make_head = make_head
        self._slots = section.slots or DEFAULT_SLOTS
        self._threads = section.threads or len(os.sched_getaffinity(0))
        self._free: queue.SimpleQueue[_CpuSlot] = queue.SimpleQueue()
        self._worker: Worker[BatchOutput] | None = None

    @property
    def model(self) -> ModelInfo:
        """What runs; known once open."""
        return self._model

    @property
    def input_spec(self) -> InputSpec:
        """What the model's input wants; known once open."""
        return self._preprocessor.spec

    @property
    def max_batch(self) -> int:
        """Most frames that one batch can hold; known once open."""
        return self._max_batch

    @property
    def slot_count(self) -> int:
        """Most batches in flight."""
        return self._slots

    @property
    def description(self) -> str:
        """One line for the log."""
        import onnxruntime

        spinning = "on" if self._section.spinning else "off"
        return (
            f"ONNX Runtime {onnxruntime.__version__} on the CPU, {PRECISIONS[self._dtype]}, "
            f"{self._threads} threads, "
            f"spinning {spinning}, batch 1 to {self._max_batch}, {self._slots} slots"
        )

    def open(self) -> None:
        """Load the model and run it once.

        Raises:
            ModelError: The file is not a model that can be run or decoded.
            BackendError: ONNX Runtime is not installed.
        """
        self._session = self._load()
        name, shape = self._image_input()
        spec = resolve_input_spec(self._description, shape)
        self._input_name = name
        self._fixed_batch = shape[0]
        self._max_batch = self._fixed_batch or self._section.max_batch
        slots = [_CpuSlot(np.zeros(spec.shape(self._max_batch), np.float32)) for _ in range(self._slots)]
        try:
            trial, _ = self._run(slots[0].tensor, 1)
        except BackendError as error:
            raise ModelError(f"{self._description.path}: a trial run failed: {error.message}") from error
        nodes = self._session.get_outputs()
        self._outputs = [_tensor_spec(node, output) for node, output in zip(nodes, trial, strict=True)]
        self._labels = labels = self._description.labels or self._labels_in_model()
        self._preprocessor = self._make_preprocessor(spec)
        self._head = self._make_head(self._outputs, spec, labels)
        self._model = ModelInfo(
            name=self._description.name,
            sha256=self._description.sha256,
            labels=labels or (),
            backend="onnxruntime",
            precision=PRECISIONS[self._dtype],
        )
        self.decode(trial, 1)
        self._worker = Worker("onnxruntime")
        for slot in slots:
            self._free.put(slot)

    @property
    def on_disk(self) -> ModelDescription:
        """The model on disk."""
        return self._description

    @property
    def fixed_candidates(self) -> bool:
        """Whether `max_candidates` cannot change any more."""
        return False

    def retune(self, make_head: HeadFactory, iou_threshold: float) -> None:  # noqa: ARG002 - boxes are not suppressed here
        """Decode every batch that is finished from now on with other thresholds. Any thread.

        Raises:
            ModelError: The head does not fit.
        """
        self._head = make_head(self._outputs, self.input_spec, self._labels)

    def acquire(self, timeout_s: float) -> _CpuSlot | None:
        """Return a free slot, or None if none came free within `timeout_s` seconds."""
        try:
            return self._free.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def submit(self, slot: Slot, frames: Sequence[Frame]) -> Pending:
        """Letterbox the frames into the slot, return their leases, and let the worker run the batch."""
        slot = cast("_CpuSlot", slot)
        count, started = len(frames), time.perf_counter()
        try:
            if self._worker is None:
                raise BackendError("the backend is not open")
            for image, frame in zip(slot.images, frames, strict=False):
                self._preprocessor.write(frame, image)
            preprocess_ms = (time.perf_counter() - started) * 1e3
            future = self._worker.submit(lambda: self._run(slot.tensor, count))
        except BaseException:
            self.release(slot)
            raise
        finally:
            for frame in frames:
                frame.release()
        return _CpuPending(self, slot, future, count, preprocess_ms)

    def release(self, slot: Slot) -> None:
        """Give back a slot."""
        self._free.put(cast("_CpuSlot", slot))

    def decode(self, outputs: Sequence[Tensor], count: int) -> Sequence[Candidates]:
        """Return the candidates of the first `count` images of a batch."""
        named = {spec.name: output for spec, output in zip(self._outputs, outputs, strict=True)}
        return self._head.decode(named, count)

    def close(self) -> None:
        """Finish what is in flight, unless it takes longer than half a second. Idempotent."""
        if self._worker is not None and not self._worker.close(CLOSE_TIMEOUT_S):
            logger.warning("a batch is still running, and is left behind")

    def _run(self, tensor: NDArray[np.float32], count: int) -> BatchOutput:
        # A model with a fixed batch gets all of its slot; what lies behind `count` is not decoded.
        batch = tensor if self._fixed_batch else tensor[:count]
        started = time.perf_counter()
        try:
            outputs = self._session.run(None, {self._input_name: batch.astype(self._dtype, copy=False)})
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed to run the model: {error}") from error
        return cast("list[Tensor]", outputs), (time.perf_counter() - started) * 1e3

    def _load(self) -> onnxruntime.InferenceSession:
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError(
                f"ONNX Runtime cannot be imported: {error}",
                hint="Install it: pip install 'edge-app[onnxruntime]'.",
            ) from None
        options = session_options(self._threads, spinning=self._section.spinning)
        path = self._description.path
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(
                f"{path}: ONNX Runtime {onnxruntime.__version__} cannot load this model: {error}",
                hint="Is it a complete ONNX file? A model with external data needs that file beside it.",
            ) from error

    def _image_input(self) -> tuple[str, tuple[int | None, ...]]:
        path, inputs = self._description.path, self._session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(f"{item.name}{item.shape}" for item in inputs)
            raise ModelError(f"{path}: a detector with one image input is expected, found {names}")
        spec = inputs[0]
        if len(spec.shape) != 4:
            raise ModelError(f"{path}: input {spec.name!r} must have 4 axes, found {spec.shape}")
        if spec.type not in DTYPES:
            raise ModelError(
                f"{path}: input {spec.name!r} is {spec.type}, expected {' or '.join(DTYPES)}",
                hint="Export the model without preprocessing in its graph.",
            )
        self._dtype = DTYPES[spec.type]
        return spec.name, tuple(axis if isinstance(axis, int) and axis > 0 else None for axis in spec.shape)

    def _labels_in_model(self) -> tuple[str, ...] | None:
        """Read the class names that exporters leave in the metadata."""
        names = self._session.get_modelmeta().custom_metadata_map.get("names")
        if not names:
            return None
        try:
            return labels_of_metadata(names)
        except ValueError as error:
            logger.warning("%s: the labels in its metadata cannot be read: %s", self._description.path, error)
            return None


def _tensor_spec(node: onnxruntime.NodeArg, trial: Tensor) -> TensorSpec:
    """Describe an output; where the model leaves an axis behind the batch open, the trial run tells it."""
    declared = [axis if isinstance(axis, int) and axis > 0 else None for axis in node.shape]
    lengths = [axis or length for axis, length in zip(declared[1:], trial.shape[1:], strict=True)]
    return TensorSpec(node.name, (*declared[:1], *lengths), trial.dtype)
