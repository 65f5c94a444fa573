"""The TensorRT backend on a real GPU, with small engines built on the spot."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from edge_app.config.models import InferenceSection, ModelSection
from edge_app.errors import BackendError, ModelError
from edge_app.geometry import InputSpec
from edge_app.gpu.context import Gpu
from edge_app.gpu.resource import live_resources
from edge_app.infer.model import describe_model
from edge_app.infer.tensorrt import Plan, TensorRtBackend
from edge_app.interfaces import Head, TensorMap, TensorSpec
from edge_app.messages import Candidates, Frame, FrameInfo
from edge_app.preprocess.letterbox import CpuPreprocessor
from tests.gpu.plans import build_plan, write_plan
from tests.gpu.requirements import require_gpu
from tests.infer.conftest import MakeModel
from tests.infer.test_onnxruntime import Lease, MeanHead, make_frame

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]

MIB = 2**20
PADDING = 114
DEMO = Path(__file__).parents[2] / "models" / "demo.yaml"


@pytest.fixture
def gpu() -> Gpu:
    return require_gpu()


@pytest.fixture
def average(gpu: Gpu, make_model: MakeModel) -> Path:
    """A model that averages its image; its engine, for batches of 1 to 4, lies beside it."""
    path = make_model()
    plan = build_plan(path.read_bytes(), {"images": ((1, 3, 32, 48), (2, 3, 32, 48), (4, 3, 32, 48))})
    write_plan(path.parent, plan, path.with_suffix(".engine").name)
    return path


opened: list[TensorRtBackend] = []


@pytest.fixture(autouse=True)
def close_what_a_failed_test_left_open() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


def make_backend(
    model: Path, *, plan: bytes | None = None, device: int = 0, **section: object
) -> TensorRtBackend:
    def make_head(outputs: Sequence[TensorSpec], spec: InputSpec, labels: tuple[str, ...] | None) -> Head:
        assert outputs[0].name == "output0"
        assert labels == ("kept", "labels")
        return MeanHead()

    path = model.with_suffix(".engine")
    backend = TensorRtBackend(
        replace(describe_model(ModelSection(), model), labels=("kept", "labels")),
        Plan(path.read_bytes() if plan is None else plan, path, "fp32"),
        InferenceSection.model_validate(section),
        make_head,
        iou_threshold=0.7,
        device=device,
    )
    opened.append(backend)
    return backend


def releases(frames: Sequence[Frame]) -> list[int]:
    return [frame.lease.released for frame in frames if isinstance(frame.lease, Lease)]


def run_batch(backend: TensorRtBackend, values: Sequence[int]) -> list[float]:
    slot = backend.acquire(1)
    assert slot is not None
    frames = [make_frame(value) for value in values]
    with backend.submit(slot, frames).result(30) as result:
        assert result.timings.inference_ms > 0
        assert releases(frames) == [1] * len(values)
        return [value_of(candidates) for candidates in result.candidates]


def value_of(candidates: Candidates) -> float:
    """The value of a frame's pixels, from the mean of an input of which a quarter is padding."""
    mean = float(candidates.confidence[0]) * 255
    return float(round((mean - PADDING / 4) / 0.75))


def test_every_batch_size_runs(average: Path) -> None:
    backend = make_backend(average, max_batch=4)
    backend.open()
    for values in ([7], [1, 2, 3], [10, 20, 30, 40], [5, 6]):
        assert run_batch(backend, values) == values
    backend.close()
    backend.close()
    assert live_resources() == {}


def test_what_runs_is_told_openly(average: Path, gpu: Gpu) -> None:
    backend = make_backend(average, max_batch=3, slots=2)
    backend.open()
    sha256 = hashlib.sha256(average.with_suffix(".engine").read_bytes()).hexdigest()
    assert f"on GPU 0 ({gpu.name}), fp32, engine {sha256[:12]}, batch 1 to 3, 2" in backend.description
    assert backend.model.engine_sha256 == sha256
    assert (backend.model.backend, backend.model.precision) == ("tensorrt", "fp32")
    assert backend.model.labels == ("kept", "labels")
    assert (backend.input_spec.width, backend.input_spec.height) == (48, 32)
    backend.close()


def test_an_engine_for_smaller_batches_says_so(average: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend = make_backend(average, max_batch=16)
    backend.open()
    assert backend.max_batch == 4
    assert "the engine takes batches of up to 4, inference.max_batch is 16" in caplog.text
    backend.close()


def test_a_fixed_batch_is_filled_up(gpu: Gpu, make_model: MakeModel) -> None:
    path = make_model((2, 3, 32, 48))
    write_plan(path.parent, build_plan(path.read_bytes()), path.with_suffix(".engine").name)
    backend = make_backend(path, slots=1)
    backend.open()
    assert backend.max_batch == 2
    assert run_batch(backend, [9]) == [9.0]
    assert run_batch(backend, [8, 7]) == [8.0, 7.0]
    backend.close()


def test_a_half_precision_input_is_fed(gpu: Gpu, make_model: MakeModel) -> None:
    path = make_model((1, 3, 32, 48), dtype=TensorProto.FLOAT16)
    write_plan(path.parent, build_plan(path.read_bytes(), fp16=True), path.with_suffix(".engine").name)
    backend = make_backend(path, slots=1)
    backend.open()
    assert run_batch(backend, [9]) == [9.0]
    backend.close()


def test_a_feeder_and_a_postprocess_thread_share_the_slots(average: Path) -> None:
    backend = make_backend(average, slots=2, max_batch=2)
    backend.open()
    found: list[float] = []
    pending = []

    def feed() -> None:
        for value in (3, 5):
            slot = backend.acquire(1)
            assert slot is not None
            pending.append(backend.submit(slot, [make_frame(value)]))
        assert backend.acquire(0.01) is None

    def finish() -> None:
        for batch in pending:
            with batch.result(30) as result:
                found.append(value_of(result.candidates[0]))

    for work in (feed, finish):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)
    assert found == [3.0, 5.0]
    assert backend.acquire(1) is not None
    assert backend.acquire(1) is not None
    backend.close()


def test_results_outlive_slot_and_backend(average: Path) -> None:
    backend = make_backend(average, slots=1)
    backend.open()
    slot = backend.acquire(1)
    assert slot is not None
    with backend.submit(slot, [make_frame(6)]).result(30) as result:
        kept = result.candidates
    assert run_batch(backend, [99]) == [99.0]
    backend.close()
    assert value_of(kept[0]) == 6.0


def test_a_frame_that_cannot_be_taken_returns_slot_and_lease(average: Path) -> None:
    backend = make_backend(average, slots=1)
    backend.open()
    slot = backend.acquire(1)
    assert slot is not None
    frame = replace(make_frame(1), pixels=np.zeros((3, 4, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"a 4x2 bgr frame must be uint8 \(2, 4, 3\), found uint8 \(3, 4, 3\)"
    ):
        backend.submit(slot, [frame])
    assert releases([frame]) == [1]
    assert run_batch(backend, [4]) == [4.0]
    backend.close()


class PinnedLease(Lease):
    pinned = True


def test_page_locked_frames_are_kept_until_the_batch_is_done(average: Path) -> None:
    backend = make_backend(average, slots=1, max_batch=4)
    backend.open()
    slot = backend.acquire(1)
    assert slot is not None
    pixels, pinned = backend.allocate((2, 4, 3))
    pixels[:] = 77
    frame = replace(make_frame(77), pixels=pixels, lease=PinnedLease())
    ordinary = make_frame(5)
    assert pinned
    with backend.submit(slot, [frame, ordinary]).result(30) as result:
        assert releases([frame, ordinary]) == [0, 1]
        assert [value_of(candidates) for candidates in result.candidates] == [77.0, 5.0]
    assert releases([frame]) == [1]
    backend.close()


def test_results_are_the_same_with_and_without_graphs(
    average: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    batches = ([7], [1, 2, 3], [10, 20, 30, 40], [5, 6])
    found = []
    for graphs in (True, False):
        if not graphs:
            monkeypatch.setattr("edge_app.infer.tensorrt.graph_driver", lambda: None)
        backend = make_backend(average, max_batch=4)
        backend.open()
        assert ("no CUDA graphs" in backend.description) is not graphs
        found.append([run_batch(backend, values) for values in batches])
        backend.close()
    assert found[0] == found[1]
    assert "without CUDA graphs: the package cuda-bindings is not installed" in caplog.text


@pytest.mark.parametrize("count", [0, 5])
def test_a_batch_of_another_size_is_refused_and_the_slot_returned(average: Path, count: int) -> None:
    backend = make_backend(average, slots=1, max_batch=4)
    backend.open()
    slot = backend.acquire(1)
    assert slot is not None
    frames = [make_frame(1) for _ in range(count)]
    with pytest.raises(BackendError, match=f"a batch holds 1 to 4 frames, found {count}"):
        backend.submit(slot, frames)
    assert releases(frames) == [1] * count
    assert backend.acquire(1) is slot
    backend.close()


def test_an_error_while_results_are_used_returns_the_slot(average: Path) -> None:
    backend = make_backend(average, slots=1)
    backend.open()
    slot = backend.acquire(1)
    assert slot is not None
    with pytest.raises(ZeroDivisionError), backend.submit(slot, [make_frame(1)]).result(30):
        raise ZeroDivisionError
    assert backend.acquire(1) is slot
    backend.close()


def test_closing_ends_what_is_in_flight(average: Path) -> None:
    backend = make_backend(average, slots=1)
    backend.open()
    slot = backend.acquire(1)
    assert slot is not None
    batch = backend.submit(slot, [make_frame(1)])
    backend.close()
    assert live_resources() == {}
    with pytest.raises(BackendError, match="not open"), batch.result(1):
        pytest.fail("there is no result")
    with pytest.raises(BackendError, match="not open"):
        backend.submit(slot, [make_frame(1)])


def test_an_engine_that_cannot_be_loaded_leaves_nothing_behind(average: Path) -> None:
    backend = make_backend(average, plan=b"no engine at all" * 64)
    with pytest.raises(ModelError, match=r"\.engine: TensorRT .* cannot load this engine"):
        backend.open()
    backend.close()
    assert live_resources() == {}


def test_a_head_that_fails_at_warm_up_leaves_nothing_behind(average: Path) -> None:
    backend = make_backend(average)
    backend._make_head = lambda *_: FailingHead()
    with pytest.raises(ZeroDivisionError):
        backend.open()
    assert live_resources() == {}


class FailingHead(MeanHead):
    def decode(self, outputs: TensorMap, batch: int) -> Sequence[Candidates]:
        raise ZeroDivisionError


def test_memory_returns_to_its_start_after_many_cycles(average: Path, gpu: Gpu) -> None:
    def cycle() -> None:
        backend = make_backend(average, slots=2)
        backend.open()
        assert run_batch(backend, [3, 4]) == [3.0, 4.0]
        backend.close()

    for _ in range(3):
        cycle()
    start_bytes = gpu.memory_bytes()[0]
    for _ in range(50):
        cycle()
    assert abs(gpu.memory_bytes()[0] - start_bytes) <= MIB
    assert live_resources() == {}


class RawHead:
    """Keeps a copy of the outputs."""

    name = "raw"
    grid = None

    def __init__(self) -> None:
        self.outputs: dict[str, NDArray[np.float32]] = {}

    def decode(self, outputs: TensorMap, batch: int) -> Sequence[Candidates]:
        self.outputs = {name: np.array(values) for name, values in outputs.items()}
        empty = Candidates(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
        return [empty] * batch


def noise(seed: int, spec: InputSpec) -> Frame:
    """A frame of the input's size, so that both letterboxes give the same to the last bit."""
    pixels = np.random.default_rng(seed).integers(0, 256, (spec.height, spec.width, 3), np.uint8)
    return Frame(FrameInfo("noise", seed, 0, 0, spec.width, spec.height), pixels)


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_the_demo_model_gives_what_onnx_runtime_gives(gpu: Gpu, tmp_path: Path) -> None:
    if not DEMO.exists():
        pytest.skip("models/demo.yaml is not there")
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    description = describe_model(ModelSection(), DEMO)
    session = onnxruntime.InferenceSession(str(description.path), providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    sides = [side if isinstance(side, int) else 1 for side in image.shape[1:]]
    ranges = {image.name: ((1, *sides), (1, *sides), (3, *sides))}
    model = onnx.load(str(description.path)).SerializeToString()
    plan = build_plan(model, None if isinstance(image.shape[0], int) else ranges)
    head = RawHead()
    backend = TensorRtBackend(
        description,
        Plan(plan, tmp_path / "demo.engine", "fp32"),
        InferenceSection(slots=1, max_batch=3),
        lambda *_: head,
        iou_threshold=0.7,
    )
    backend.open()
    frames = [noise(seed, backend.input_spec) for seed in range(backend.max_batch)]
    slot = backend.acquire(1)
    assert slot is not None
    with backend.submit(slot, frames).result(60):
        pass
    backend.close()
    images = np.zeros((len(frames), *sides), np.float32)
    preprocessor = CpuPreprocessor(backend.input_spec)
    for frame, out in zip(frames, images, strict=True):
        preprocessor.write(frame, out)
    expected = session.run(None, {image.name: images})
    for node, values in zip(session.get_outputs(), expected, strict=True):
        tolerance = 1e-3 * float(np.abs(values).max())
        np.testing.assert_allclose(head.outputs[node.name], values, rtol=1e-3, atol=tolerance)
