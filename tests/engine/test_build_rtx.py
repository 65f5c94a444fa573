"""Builds for real, without a GPU: TensorRT-RTX has the builder of TensorRT 11."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edge_app.engine.build_spec import BuildSpec
from edge_app.engine.builder import BuildResult, build
from edge_app.engine.compat import Builder, is_strongly_typed, version_of
from edge_app.engine.errors import BuildError
from edge_app.engine.events import BuildEvent, EventKind
from edge_app.engine.identity import DeviceFacts
from edge_app.engine.obtain import CalibrationSet, EngineRequest, Workshop, obtain_engine
from edge_app.engine.options import BuildLimits, BuildOptions, Precision, Profile
from edge_app.engine.precision.prepare import prepare
from edge_app.engine.precision.quantize import hash_calibration
from edge_app.engine.progress import Reporter, native_logger
from edge_app.engine.store import EngineStore
from tests.engine.architectures import yolo11n, yolov8n
from tests.engine.models import SIZE, images, integers, model_of, save, weights

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "demo.onnx"


def build_here(
    model: Path, precision: Precision, profile: Profile, command: list[str], folder: Path, **more: Any
) -> tuple[BuildResult, list[BuildEvent]]:
    events: list[BuildEvent] = []
    options = BuildOptions(optimization_level=1)
    spec = BuildSpec(str(model), str(folder / "plan"), precision, profile, options, **more)
    return build(spec, BuildLimits(), events.append, command=command), events


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_a_detector_builds_with_a_dynamic_batch(
    model: Path, precision: Precision, rtx_worker: list[str], tmp_path: Path
) -> None:
    profile = Profile(SIZE, SIZE, 1, 3, 8)
    result, events = build_here(model, precision, profile, rtx_worker, tmp_path)
    assert result.attempts == 1
    assert (tmp_path / "plan").stat().st_size > 10_000
    percents = [event.percent for event in events if event.percent is not None]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert any(event.text == "building the engine" for event in events if event.kind is EventKind.PHASE)
    assert any("decodes the head" in note for note in result.notes) == (precision is Precision.FP16)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_the_demo_model_builds(precision: Precision, rtx_worker: list[str], tmp_path: Path) -> None:
    build_here(DEMO, precision, Profile(416, 416, 1, 4, 8), rtx_worker, tmp_path)
    assert (tmp_path / "plan").stat().st_size > 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("make", [yolov8n, yolo11n], ids=lambda make: str(make.__name__))
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_true_architectures_build_with_a_dynamic_batch(
    make: Callable[[], tuple[onnx.ModelProto, int]],
    precision: Precision,
    rtx_worker: list[str],
    tmp_path: Path,
) -> None:
    network, parameters = make()
    path = save(network, tmp_path / "network.onnx")
    result, _ = build_here(path, precision, Profile(640, 640, 1, 1, 4), rtx_worker, tmp_path)
    assert (tmp_path / "plan").stat().st_size > parameters * (4 if precision is Precision.FP32 else 2) * 0.9
    assert any("decodes the head" in note for note in result.notes) == (precision is Precision.FP16)


def test_int8_is_calibrated_and_built(model: Path, rtx_worker: list[str], tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", images(8))
    quantized = tmp_path / "quantized.onnx"
    _, events = build_here(
        model,
        Precision.INT8,
        Profile(SIZE, SIZE, 1, 1, 2),
        rtx_worker,
        tmp_path,
        calibration=str(tmp_path / "frames.npy"),
        quantized=str(quantized),
    )
    assert quantized.exists()
    assert events[0].text == "calibrating with 8 frames"
    assert (tmp_path / "plan").exists()


def test_the_network_has_the_types_of_the_policy(rtx: Any, model: Path, events: list[BuildEvent]) -> None:
    assert is_strongly_typed(rtx)
    assert version_of(rtx) == (11,)
    api = Builder(rtx, native_logger(rtx, Reporter(events.append)))
    builder = rtx.Builder(api.logger)
    network = api.create_network(builder)
    parser = rtx.OnnxParser(network, api.logger)
    graph = prepare(model, Precision.FP16, strongly_typed=True)
    assert parser.parse(graph.content, str(model))
    layers = {layer.name: layer for layer in (network.get_layer(i) for i in range(network.num_layers))}
    for name, dtype in (("stem", "HALF"), ("body", "HALF"), ("exp", "FLOAT"), ("confidence", "FLOAT")):
        assert layers[name].get_output(0).dtype.name == dtype, name
    assert network.get_input(0).dtype.name == network.get_output(0).dtype.name == "FLOAT"


def test_every_error_of_the_parser_is_told(rtx_worker: list[str], tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["a"], name="stem", pads=[1] * 4),
        helper.make_node("Frobnicate", ["a"], ["b"], name="strange/one", domain="com.example"),
        helper.make_node("Relu", ["b"], ["c"], name="relu"),
        helper.make_node("Frobnicate", ["c"], ["out"], name="strange/two", domain="com.example"),
    ]
    model = helper.make_model(
        model_of(
            [*nodes[:1], helper.make_node("Relu", ["a"], ["out"], name="relu")],
            [weights("w", (8, 3, 3, 3), 0)],
            ("out", ["batch", 8, SIZE, SIZE]),
        ).graph,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)],
        ir_version=8,
    )
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path = save(model, tmp_path / "strange.onnx")
    with pytest.raises(BuildError, match="cannot read the model") as caught:
        build_here(path, Precision.FP32, Profile(SIZE, SIZE), rtx_worker, tmp_path)
    assert caught.value.kind == "parse"
    assert len(caught.value.details) == 2
    for line, name in zip(caught.value.details, ("strange/one", "strange/two"), strict=True):
        assert line.startswith(f"Frobnicate '{name}': ")
        assert "TensorRT has no such operator" in line


def test_an_axis_that_only_the_data_knows_is_told(rtx_worker: list[str], tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["images", "flat"], ["a"], name="flatten"),
        helper.make_node("MatMul", ["a", "w"], ["out"], name="product"),
    ]
    constants = [integers("flat", [0, -1]), weights("w", (3 * SIZE * SIZE, 4), 0)]
    model = model_of(nodes, constants, ("out", ["batch", 4]))
    model.graph.input[0].type.tensor_type.shape.dim[1].Clear()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "channels"
    path = save(model, tmp_path / "model.onnx")
    profile = Profile(SIZE * 2, SIZE)
    with pytest.raises(BuildError, match=r"input 'images' is \[\?, \?, 64, 64\].*may be dynamic"):
        build_here(path, Precision.FP32, profile, rtx_worker, tmp_path)


def test_a_broken_model_is_told(rtx_worker: list[str], tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08\x08\x12")
    with pytest.raises(BuildError, match="not a complete ONNX model"):
        build_here(path, Precision.FP32, Profile(SIZE, SIZE), rtx_worker, tmp_path)


def test_from_model_to_store_and_back(
    store: EngineStore, device: DeviceFacts, model: Path, rtx_worker: list[str], tmp_path: Path
) -> None:
    workshop = Workshop(store, device, None, command=rtx_worker)
    profile, options = Profile(SIZE, SIZE, 1, 2, 4), BuildOptions(optimization_level=1)
    fp16 = EngineRequest("demo", model, Precision.FP16, profile, options)
    first = obtain_engine(workshop, fp16)
    assert store.read(first.engine) == first.plan
    assert first.engine.manifest.build_s > 0
    assert obtain_engine(workshop, fp16).reasons == ()
    np.save(tmp_path / "frames.npy", images(4))
    frames = CalibrationSet(tmp_path / "frames.npy", hash_calibration(images(4)))
    int8 = replace(fp16, precision=Precision.INT8, calibration=frames)
    second = obtain_engine(workshop, int8)
    (tmp_path / "frames.npy").unlink()
    assert obtain_engine(workshop, replace(int8, calibration=None)).plan == second.plan
    elsewhere = replace(workshop, device=replace(device, tensorrt="11.0.0"))
    third = obtain_engine(elsewhere, replace(int8, calibration=None))
    assert "built for TensorRT" in third.reasons[-1]
    assert {engine.manifest.identity.precision for engine in store.engines()} == {
        Precision.FP16,
        Precision.INT8,
    }


def test_timings_are_kept_for_the_device_the_model_and_the_precision(
    store: EngineStore, device: DeviceFacts, model: Path, rtx_worker: list[str]
) -> None:
    workshop = Workshop(store, device, None, command=rtx_worker)
    for precision in (Precision.FP32, Precision.FP16):
        request = EngineRequest("demo", model, precision, Profile(SIZE, SIZE))
        cache = store.timing_cache_path("demo", obtain_engine(workshop, request).engine.manifest.identity)
        assert cache.name == f"demo-{precision.value}-Orin-sm87-tensorrt8.6.0.timing"
        assert cache.stat().st_size > 0


def test_timings_that_cannot_be_kept_do_not_cost_the_engine(
    model: Path, rtx_worker: list[str], tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing" / "demo.timing")
    profile = Profile(SIZE, SIZE)
    result, _ = build_here(model, Precision.FP32, profile, rtx_worker, tmp_path, timing_cache=missing)
    assert "the timings for the next build cannot be kept: No such file or directory" in result.notes
    assert (tmp_path / "plan").exists()


def test_a_full_disk_is_told(model: Path, rtx_worker: list[str], tmp_path: Path) -> None:
    (tmp_path / "plan").symlink_to("/dev/full")
    with pytest.raises(BuildError, match=r"plan: No space left on device"):
        build_here(model, Precision.FP32, Profile(SIZE, SIZE), rtx_worker, tmp_path)
