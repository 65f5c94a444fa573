"""Builds on a real GPU with its TensorRT, and the engines against ONNX Runtime.

EDGE_APP_TEST_ENGINES names a directory that keeps engines and timings between runs. Figures go to the log:
run with `-o log_cli=true -o log_cli_level=INFO`.
"""

import logging
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_app.engine.device import this_device
from edge_app.engine.errors import BuildError
from edge_app.engine.events import BuildEvent, EventKind
from edge_app.engine.obtain import (
    CalibrationSet,
    EngineRequest,
    ObtainedEngine,
    Workshop,
    obtain_engine,
)
from edge_app.engine.options import BuildOptions, Precision, Profile
from edge_app.engine.precision.quantize import collect_calibration
from edge_app.engine.store import EngineStore, StoredEngine
from edge_app.engine.verify import DEFAULT_THRESHOLDS, VerifyReport, match_boxes, verify
from edge_app.errors import ModelError
from edge_app.gpu.context import Gpu
from edge_app.gpu.engine import LoadedEngine
from edge_app.gpu.inspector import read_layers
from edge_app.inspection.layers import parse_layers
from tests.engine.models import SIZE, detector, images, model_of, save, weights
from tests.engine.side_by_side import (
    BATCHES,
    SIDE,
    boxes_of,
    letterboxed,
    observe,
    on_gpu,
    onnx_runtime,
    pictures,
)
from tests.gpu.requirements import require_gpu

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.timeout(900)]

logger = logging.getLogger(__name__)

DEMO = Path(__file__).parents[2] / "models" / "demo.onnx"


@pytest.fixture(scope="module")
def gpu() -> Gpu:
    return require_gpu()


@pytest.fixture(scope="module")
def demo_store(gpu: Gpu, tmp_path_factory: pytest.TempPathFactory) -> EngineStore:
    return EngineStore(os.environ.get("EDGE_APP_TEST_ENGINES") or tmp_path_factory.mktemp("engines", True))


def demo_request(precision: Precision, folder: Path) -> EngineRequest:
    calibration = None
    if precision is Precision.INT8:
        path = folder / "frames.npy"
        sha256 = collect_calibration(pictures(range(300, 332), 4), letterboxed, 128, path)
        calibration = CalibrationSet(path, sha256)
    profile, options = Profile(SIDE, SIDE, 1, 4, max(BATCHES)), BuildOptions(optimization_level=0)
    return EngineRequest("demo", DEMO, precision, profile, options, calibration)


def demo_workshop(gpu: Gpu, store: EngineStore, precision: Precision, events: list[BuildEvent]) -> Workshop:
    reference = observe(onnx_runtime(DEMO))

    def judge(engine: StoredEngine, plan: bytes) -> VerifyReport:
        frames = [letterboxed(picture) for picture in pictures(range(400, 420), 3)]
        with on_gpu(gpu, plan, engine.plan_path) as run:
            report = verify(frames, reference, observe(run), precision)
        logger.info("%s", report)
        return report

    free_bytes, _ = gpu.memory_bytes()
    return Workshop(store, this_device(), judge, emit=events.append, free_device_bytes=free_bytes)


@pytest.fixture(scope="module", params=list(Precision))
def demo_engine(
    request: pytest.FixtureRequest,
    gpu: Gpu,
    demo_store: EngineStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Precision, ObtainedEngine]:
    precision: Precision = request.param
    events: list[BuildEvent] = []
    started = time.perf_counter()
    obtained = obtain_engine(
        demo_workshop(gpu, demo_store, precision, events),
        demo_request(precision, tmp_path_factory.mktemp("calibration")),
    )
    logger.info("%s: %.1f s; %s", precision.value, time.perf_counter() - started, obtained.reasons or "found")
    for event in events:
        logger.info("%6.1f s %s %s", event.elapsed_s, event.percent or "", event.text)
    return precision, obtained


Demo = tuple[Precision, ObtainedEngine]


def test_the_demo_model_is_built_and_verified(demo_engine: Demo) -> None:
    precision, obtained = demo_engine
    verification = obtained.engine.manifest.verification
    assert verification is not None
    assert verification["passed"] is True
    assert verification["counted"] > 500
    logger.info(
        "%s: %d bytes, built in %.1f s", precision.value, len(obtained.plan), obtained.engine.manifest.build_s
    )


def test_an_image_has_the_same_boxes_alone_and_in_every_batch(gpu: Gpu, demo_engine: Demo) -> None:
    """Raw confidences may differ: other batch sizes have other kernels, and INT8 rounds coarsely."""
    precision, obtained = demo_engine
    limits = DEFAULT_THRESHOLDS[precision]
    batch = np.stack([letterboxed(picture) for picture in pictures(range(500, 500 + max(BATCHES)), 1)])
    with on_gpu(gpu, obtained.plan, obtained.engine.plan_path) as run:
        alone = np.concatenate([run(batch[i : i + 1]) for i in range(len(batch))])
        for size in BATCHES:
            together = run(batch[:size])
            assert together.shape[0] == size
            pairs = zip(alone[:size], together, strict=True)
            matches = [match_boxes(boxes_of(one), boxes_of(other), limits) for one, other in pairs]
            counted = sum(match.counted for match in matches)
            assert counted > size
            assert sum(match.matched for match in matches) / counted >= limits.matched
    expected = onnx_runtime(DEMO)(batch)
    least = {Precision.FP32: 0.9999, Precision.FP16: 0.999, Precision.INT8: 0.98}[precision]
    assert np.corrcoef(expected.ravel(), alone.ravel())[0, 1] > least


def test_the_second_start_takes_the_engine(
    gpu: Gpu, demo_store: EngineStore, demo_engine: Demo, tmp_path: Path
) -> None:
    precision, obtained = demo_engine
    request = replace(demo_request(Precision.FP32, tmp_path), precision=precision)
    started = time.perf_counter()
    again = obtain_engine(demo_workshop(gpu, demo_store, precision, []), request)
    found_s = time.perf_counter() - started
    assert again.reasons == ()
    assert again.plan == obtained.plan
    with on_gpu(gpu, again.plan, again.engine.plan_path) as run:
        run(np.zeros((1, 3, SIDE, SIDE), np.float32))
        logger.info(
            "%s: found in %.2f s, ready after %.2f s", precision.value, found_s, time.perf_counter() - started
        )


def test_the_decode_runs_in_fp32(gpu: Gpu, demo_engine: Demo) -> None:
    """Of numbers from a calculation in FP16, every one is an FP16 number; of FP32, next to none is."""
    precision, obtained = demo_engine
    for layer in parse_layers(read_layers(gpu, obtained.plan, obtained.engine.plan_path)):
        logger.info("%s: %s", precision.value, layer)
    image = letterboxed(next(pictures(range(500, 501), 1)))
    with on_gpu(gpu, obtained.plan, obtained.engine.plan_path) as run:
        boxes, confidences = np.split(run(image[None])[0], [4])
    # Next to zero and one, FP32 has numbers that FP16 has too.
    unsure = confidences[(confidences > 0.001) & (confidences < 0.999)]
    for name, values in (("boxes", boxes), ("confidences", unsure)):
        halves = float((values.astype(np.float16).astype(np.float32) == values).mean())
        assert halves < 0.5, f"{halves:.1%} of the {name} are FP16 numbers"


@pytest.fixture
def small(gpu: Gpu, store: EngineStore, events: list[BuildEvent]) -> Workshop:
    return Workshop(store, this_device(), None, emit=events.append, free_device_bytes=gpu.memory_bytes()[0])


@pytest.fixture
def small_request(model: Path) -> EngineRequest:
    profile, options = Profile(SIZE, SIZE, 1, 3, 8), BuildOptions(optimization_level=0)
    return EngineRequest("small", model, Precision.FP16, profile, options)


def children() -> list[int]:
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def test_progress_is_told(small: Workshop, small_request: EngineRequest, events: list[BuildEvent]) -> None:
    obtain_engine(small, small_request)
    percents = [event.percent for event in events if event.percent is not None]
    assert percents == sorted(percents)
    assert any(10 < percent < 99 for percent in percents)
    assert percents[-1] == 100


def test_a_builder_killed_midway_leaves_the_old_engine(
    gpu: Gpu, small: Workshop, small_request: EngineRequest
) -> None:
    first = obtain_engine(small, small_request)
    save(detector(seed=5), small_request.model)

    def kill_midway(event: BuildEvent) -> None:
        if event.text == "building the engine":
            for pid in children():
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(BuildError, match="SIGKILL"):
        obtain_engine(replace(small, emit=kill_midway), small_request)
    old = small.store.last_good("small", first.engine.manifest.identity)
    assert old is not None
    with on_gpu(gpu, small.store.read(old), old.plan_path) as run:
        assert np.isfinite(run(images(3))).all()
    assert "built from model" in obtain_engine(small, small_request).reasons[0]


def test_a_corrupt_plan_is_built_again(gpu: Gpu, small: Workshop, small_request: EngineRequest) -> None:
    first = obtain_engine(small, small_request)
    content = bytearray(first.plan)
    content[len(content) // 2] ^= 0xFF
    first.engine.plan_path.write_bytes(content)
    second = obtain_engine(small, small_request)
    assert "not the plan that was built" in second.reasons[0]
    with on_gpu(gpu, second.plan, second.engine.plan_path) as run:
        assert np.isfinite(run(images(1))).all()


@pytest.mark.parametrize(
    "plan", [b"", b"no engine at all" * 64, DEMO.read_bytes()[:4096] if DEMO.exists() else b"x"]
)
def test_what_is_no_engine_is_told(gpu: Gpu, tmp_path: Path, plan: bytes) -> None:
    with gpu.attach(), pytest.raises(ModelError, match=r"cannot load this engine|the engine is empty"):
        LoadedEngine(gpu, plan, tmp_path / "wrong.engine")


def test_an_engine_of_another_tensorrt_is_built_again(small: Workshop, small_request: EngineRequest) -> None:
    elsewhere = replace(small, device=replace(small.device, tensorrt="8.5.2"))
    obtain_engine(elsewhere, small_request)
    assert "built for TensorRT 8.5.2" in obtain_engine(small, small_request).reasons[0]


def test_the_timing_cache_makes_the_next_build_faster(small: Workshop, small_request: EngineRequest) -> None:
    first = obtain_engine(small, small_request)
    second = obtain_engine(small, small_request, rebuild=True)
    build_s = [engine.engine.manifest.build_s for engine in (first, second)]
    logger.info("built in %.1f s, again with timings in %.1f s", *build_s)
    identity = second.engine.manifest.identity
    assert small.store.timing_cache_path(small_request.name, identity).stat().st_size > 0


def test_unsupported_operators_are_told(small: Workshop, tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("Conv", ["images", "w"], ["a"], name="stem", pads=[1] * 4),
        helper.make_node("Hardmax", ["a"], ["b"], name="hard"),
        helper.make_node("Det", ["b"], ["out"], name="determinant"),
    ]
    output: tuple[str, list[Any]] = ("out", ["batch", 8])
    path = save(model_of(nodes, [weights("w", (8, 3, 3, 3), 0)], output), tmp_path / "odd.onnx")
    request = EngineRequest("odd", path, Precision.FP32, Profile(SIZE, SIZE))
    with pytest.raises(BuildError, match="cannot read the model") as caught:
        obtain_engine(small, request)
    assert any("determinant" in line for line in caught.value.details)


def test_the_daemon_lives_when_the_builder_crashes(
    small: Workshop, small_request: EngineRequest, events: list[BuildEvent]
) -> None:
    def crash(event: BuildEvent) -> None:
        events.append(event)
        if event.kind is EventKind.PHASE and event.text == "building the engine":
            for pid in children():
                os.kill(pid, signal.SIGSEGV)

    with pytest.raises(BuildError, match="SIGSEGV"):
        obtain_engine(replace(small, emit=crash), small_request)
    assert obtain_engine(small, small_request).plan
