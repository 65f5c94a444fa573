"""The ONNX Runtime backend on real, small models."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from edge_app.config.models import InferenceSection, ModelSection
from edge_app.errors import BackendError, ModelError
from edge_app.geometry import InputSpec
from edge_app.infer.model import describe_model
from edge_app.infer.onnxruntime import OnnxRuntimeBackend
from edge_app.interfaces import Head, TensorMap, TensorSpec
from edge_app.messages import Candidates, Frame, FrameInfo
from tests.infer.conftest import MakeModel


class MeanPreprocessor:
    """Fills the input with the frame's first pixel."""

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec

    def write(self, frame: Frame, out: NDArray[np.float32]) -> None:
        if frame.info.camera_id == "broken":
            raise ValueError("cannot take this frame")
        out[:] = frame.array[0, 0, 0]


class MeanHead:
    """One candidate for each image, whose confidence is the first channel's mean."""

    name = "mean"
    grid = None

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def decode(self, outputs: TensorMap, batch: int) -> Sequence[Candidates]:
        means = outputs["output0"]
        self.shapes.append(means.shape)
        return [
            Candidates(np.zeros((1, 4), np.float32), means[i, :1, 0, 0].copy(), np.zeros(1, np.int32))
            for i in range(batch)
        ]


class Lease:
    pinned = False

    def __init__(self) -> None:
        self.released = 0

    def release(self) -> None:
        self.released += 1


def make_frame(value: int, camera_id: str = "front") -> Frame:
    info = FrameInfo(camera_id, value, time.monotonic_ns(), time.time_ns(), 4, 2)
    return Frame(info, np.full((2, 4, 3), value, np.uint8), lease=Lease())


def make_backend(path: Path, **section: object) -> tuple[OnnxRuntimeBackend, MeanHead]:
    head = MeanHead()
    seen: list[tuple[str, ...] | None] = []

    def make_head(outputs: Sequence[TensorSpec], spec: InputSpec, labels: tuple[str, ...] | None) -> Head:
        seen.append(labels)
        return head

    inference = InferenceSection.model_validate({"threads": 1, **section})
    backend = OnnxRuntimeBackend(describe_model(ModelSection(), path), inference, MeanPreprocessor, make_head)
    return backend, head


def run_batch(backend: OnnxRuntimeBackend, frames: Sequence[Frame]) -> list[float]:
    slot = backend.acquire(1)
    assert slot is not None
    with backend.submit(slot, frames).result(10) as result:
        assert result.timings.inference_ms > 0
        return [float(candidates.confidence[0]) for candidates in result.candidates]


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_dynamic_batch_is_used_as_it_comes(make_model: MakeModel, batch: int) -> None:
    backend, head = make_backend(make_model(), max_batch=4)
    backend.open()
    frames = [make_frame(10 * (number + 1)) for number in range(batch)]
    assert run_batch(backend, frames) == [10.0 * (number + 1) for number in range(batch)]
    assert head.shapes[-1][0] == batch
    assert [frame.lease.released for frame in frames if isinstance(frame.lease, Lease)] == [1] * batch
    backend.close()


def test_a_fixed_batch_is_filled_up(make_model: MakeModel) -> None:
    backend, head = make_backend(make_model((2, 3, 32, 48)), max_batch=8)
    backend.open()
    assert backend.max_batch == 2
    assert run_batch(backend, [make_frame(7)]) == [7.0]
    assert head.shapes[-1][0] == 2
    backend.close()


def test_batches_in_flight_do_not_disturb_each_other(make_model: MakeModel) -> None:
    backend, _ = make_backend(make_model(), slots=2, max_batch=1)
    backend.open()
    first, second = backend.acquire(1), backend.acquire(1)
    assert first is not None
    assert second is not None
    assert backend.acquire(0.01) is None
    pending = [backend.submit(first, [make_frame(3)]), backend.submit(second, [make_frame(5)])]
    values = []
    for batch in pending:
        with batch.result(10) as result:
            values.append(float(result.candidates[0].confidence[0]))
    assert values == [3.0, 5.0]
    assert backend.acquire(1) is not None
    backend.close()


def test_a_half_precision_input_is_fed(make_model: MakeModel) -> None:
    backend, _ = make_backend(make_model(dtype=TensorProto.FLOAT16))
    backend.open()
    assert run_batch(backend, [make_frame(9)]) == [9.0]
    assert backend.model.precision == "fp16"
    assert "on the CPU, fp16" in backend.description
    backend.close()


def test_a_frame_that_cannot_be_taken_returns_slot_and_lease(make_model: MakeModel) -> None:
    backend, _ = make_backend(make_model(), slots=1)
    backend.open()
    slot = backend.acquire(1)
    assert slot is not None
    frame = make_frame(1, camera_id="broken")
    with pytest.raises(ValueError, match="cannot take this frame"):
        backend.submit(slot, [frame])
    assert isinstance(frame.lease, Lease)
    assert frame.lease.released == 1
    assert backend.acquire(1) is slot
    backend.close()


def test_an_error_while_results_are_used_returns_the_slot(make_model: MakeModel) -> None:
    backend, _ = make_backend(make_model(), slots=1)
    backend.open()
    slot = backend.acquire(1)
    assert slot is not None
    with pytest.raises(ZeroDivisionError), backend.submit(slot, [make_frame(1)]).result(10):
        raise ZeroDivisionError
    assert backend.acquire(1) is slot
    backend.close()


def test_labels_come_from_the_metadata(make_model: MakeModel) -> None:
    backend, _ = make_backend(make_model(metadata={"names": "{0: 'person', 1: 'dog'}"}))
    backend.open()
    assert backend.model.labels == ("person", "dog")
    backend.close()


def test_metadata_is_never_run_as_code(make_model: MakeModel, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    backend, _ = make_backend(make_model(metadata={"names": f"open({str(trap)!r}, 'w')"}))
    backend.open()
    assert backend.model.labels == ()
    assert not trap.exists()
    backend.close()


def test_what_runs_is_told_openly(make_model: MakeModel) -> None:
    backend, _ = make_backend(make_model(), max_batch=3)
    backend.open()
    assert "on the CPU, fp32, 1 threads, spinning off, batch 1 to 3, 2 slots" in backend.description
    assert (backend.model.backend, backend.model.precision) == ("onnxruntime", "fp32")
    backend.close()
    backend.close()


def test_a_corrupt_model_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "corrupt.onnx"
    path.write_bytes(b"\x08\x07not a model at all")
    backend, _ = make_backend(path)
    with pytest.raises(
        ModelError, match=r"corrupt\.onnx: ONNX Runtime .* cannot load this model: .* Hint: Is it a"
    ):
        backend.open()


def test_a_truncated_model_is_explained(make_model: MakeModel) -> None:
    path = make_model()
    path.write_bytes(path.read_bytes()[:-40])
    backend, _ = make_backend(path)
    with pytest.raises(ModelError, match="cannot load this model"):
        backend.open()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": 2}, r"one image input is expected, found images\[.*, images1\["),
        ({"shape": ("batch", 3, 32)}, r"input 'images' must have 4 axes, found \['batch', 3, 32\]"),
        (
            {"dtype": TensorProto.DOUBLE, "operator": "Identity"},
            r"is tensor\(double\), expected tensor\(float\) or tensor\(float16\)",
        ),
    ],
)
def test_a_model_of_another_kind_is_explained(
    make_model: MakeModel, arguments: dict[str, object], message: str
) -> None:
    backend, _ = make_backend(make_model(**arguments))
    with pytest.raises(ModelError, match=message):
        backend.open()


def test_submitting_to_a_closed_backend_is_an_error(make_model: MakeModel) -> None:
    backend, _ = make_backend(make_model())
    backend.open()
    slot = backend.acquire(1)
    assert slot is not None
    backend.close()
    frame = make_frame(1)
    with pytest.raises(BackendError, match="not open"):
        backend.submit(slot, [frame])
    assert isinstance(frame.lease, Lease)
    assert frame.lease.released == 1
    assert backend.acquire(0) is not None


class Occupied:
    """Keeps a backend's worker busy until it is told to go on."""

    def __init__(self, backend: OnnxRuntimeBackend) -> None:
        self.go_on = threading.Event()
        assert backend._worker is not None
        backend._worker.submit(self._hold)

    def _hold(self) -> tuple[list[NDArray[np.generic]], float]:
        self.go_on.wait()
        return [], 0.0


def test_time_in_which_the_process_stands_still_is_not_the_batch_s(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After SIGCONT the wait's time is over at once, and the work could not go on any more than the wait."""
    monkeypatch.setattr("edge_app.infer.onnxruntime.SLICE_S", 0.05)
    backend, _ = make_backend(make_model())
    backend.open()
    occupied = Occupied(backend)
    slot = backend.acquire(1)
    assert slot is not None
    pending: Any = backend.submit(slot, [make_frame(1)])
    waits = []
    result = pending._future.result

    def stood_still(timeout: float) -> object:
        waits.append(timeout)
        if len(waits) < 3:
            raise FutureTimeoutError
        occupied.go_on.set()
        return result()

    monkeypatch.setattr(pending._future, "result", stood_still)
    with pending.result(0.2) as done:
        assert done.candidates
    assert waits == [0.05] * 3
    backend.close()


def test_a_batch_that_is_not_done_in_time_is_an_error(make_model: MakeModel) -> None:
    backend, _ = make_backend(make_model())
    backend.open()
    occupied = Occupied(backend)
    slot = backend.acquire(1)
    assert slot is not None
    late = backend.submit(slot, [make_frame(1)])
    with pytest.raises(BackendError, match=r"did not finish a batch within 0\.2 s"), late.result(0.2):
        pass
    occupied.go_on.set()
    backend.close()


def test_opening_runs_the_model_once(make_model: MakeModel) -> None:
    backend, head = make_backend(make_model(), max_batch=4)
    backend.open()
    assert head.shapes == [(1, 3, 1, 1)]
    backend.close()
