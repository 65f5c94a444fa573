"""From a configuration to the engine that it asks for; a builder that pretends stands in for TensorRT."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_app.app import engine_backend
from edge_app.app.engine_backend import open_engine_backend, serving_description
from edge_app.app.engines import Engines
from edge_app.app.model import describe
from edge_app.config.models import AppConfig
from edge_app.engine.errors import BuildError, EngineError
from edge_app.engine.events import BuildEvent
from edge_app.engine.identity import DeviceFacts
from edge_app.engine.options import BuildOptions, HardwareCompatibility, Precision, Profile
from edge_app.engine.store import StoredEngine
from edge_app.geometry import Color
from edge_app.infer.model import ModelDescription
from tests.app.test_engine_frames import write_folder
from tests.engine.models import SIZE, detector, save

OddWorker = Callable[[str], list[str]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(detector(), tmp_path / "detector.onnx")


@pytest.fixture
def configure(tmp_path: Path, model: Path) -> Callable[..., AppConfig]:
    def make(engine: dict[str, Any] | None = None, **sections: dict[str, Any]) -> AppConfig:
        wanted = {"directory": str(tmp_path / "engines"), "verification": {"enabled": False}}
        values = {"model": {"path": str(model)}, "engine": {**wanted, **(engine or {})}, **sections}
        return AppConfig.model_validate(values, strict=False)

    return make


Configure = Callable[..., AppConfig]


def make_engines(config: AppConfig, device: DeviceFacts, **options: Any) -> Engines:
    return Engines(config, describe(config), device=device, **options)


def test_the_configuration_decides_what_is_asked_for(
    configure: Configure, jetson: DeviceFacts, model: Path
) -> None:
    config = configure(
        {
            "precision": "fp32",
            "opt_batch": 3,
            "optimization_level": 1,
            "dla_core": 1,
            "version_compatible": True,
            "hardware_compatibility": "ampere_plus",
        },
        inference={"max_batch": 6},
    )
    request = make_engines(config, jetson).request()
    assert (request.name, request.model, request.precision) == ("detector", model, Precision.FP32)
    assert request.profile == Profile(SIZE, SIZE, 1, 3, 6)
    assert request.options == BuildOptions(1, 1, True, HardwareCompatibility.AMPERE_PLUS)


def test_a_fixed_batch_is_the_whole_profile(
    configure: Configure, jetson: DeviceFacts, model: Path, tmp_path: Path
) -> None:
    fixed = detector()
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    save(fixed, model)
    assert make_engines(configure(), jetson).request().profile == Profile(SIZE, SIZE, 2, 2, 2)


def test_an_engine_is_built_once(
    configure: Configure, jetson: DeviceFacts, odd_worker: OddWorker, tmp_path: Path
) -> None:
    events: list[BuildEvent] = []
    config = configure()
    first = make_engines(config, jetson, command=odd_worker("good"), emit=events.append).obtain()
    assert first.reasons == ("there is no engine of this model yet",)
    assert first.engine.manifest.verification == {"verified": False}
    assert [event.text for event in events][-1] == "the engine is built"
    engines = make_engines(config, jetson, command=odd_worker("crashes"))
    again = engines.obtain()
    assert (again.reasons, again.plan) == ((), first.plan)
    assert engines.require().plan_path == again.engine.plan_path
    assert (tmp_path / "builds.log").read_text().count("\n") == 1


def test_another_precision_is_another_engine(
    configure: Configure, jetson: DeviceFacts, odd_worker: OddWorker
) -> None:
    make_engines(configure(), jetson, command=odd_worker("good")).obtain()
    other = make_engines(configure({"precision": "fp32"}), jetson, command=odd_worker("good"))
    assert other.find() is None
    with pytest.raises(EngineError, match=r"no fp32 engine of detector that fits here in .*edge-app build;"):
        other.require()
    assert "built with precision fp16, wanted is fp32" in other.obtain().reasons[0]


def test_int8_without_frames_is_explained(configure: Configure, jetson: DeviceFacts) -> None:
    with pytest.raises(EngineError, match=r"frames of your cameras.*engine\.calibration\.source"):
        make_engines(configure({"precision": "int8"}), jetson).obtain()


def test_int8_is_calibrated_with_frames_of_the_source(
    configure: Configure, jetson: DeviceFacts, odd_worker: OddWorker, tmp_path: Path
) -> None:
    events: list[BuildEvent] = []
    folder = write_folder(tmp_path / "images", 16)
    config = configure({"precision": "int8", "calibration": {"source": folder, "frames": 8}})
    obtained = make_engines(config, jetson, command=odd_worker("good"), emit=events.append).obtain()
    assert obtained.engine.manifest.identity.calibration_sha256 is not None
    collected = [event.text for event in events if event.text.startswith("collecting frames")]
    assert collected == [f"collecting frames to calibrate with, {number}" for number in range(1, 9)]
    other = configure({"precision": "int8", "calibration": {"source": folder, "frames": 12}})
    again = make_engines(other, jetson, command=odd_worker("good")).obtain(rebuild=True)
    hashes = {it.engine.manifest.identity.calibration_sha256 for it in (obtained, again)}
    assert len(hashes) == 2


def test_collecting_ends_when_nobody_wants_the_engine_any_more(
    configure: Configure, jetson: DeviceFacts, tmp_path: Path
) -> None:
    config = configure(
        {"precision": "int8", "calibration": {"source": write_folder(tmp_path / "images", 9), "frames": 8}}
    )
    with pytest.raises(BuildError, match="it was cancelled"):
        make_engines(config, jetson, cancelled=lambda: True).obtain()


def test_an_engine_remembers_what_it_serves_with(
    configure: Configure, jetson: DeviceFacts, odd_worker: OddWorker, model: Path
) -> None:
    config = configure(model={"path": str(model), "labels": ["car", "dog"], "head": "yolov8"})
    engine = make_engines(config, jetson, command=odd_worker("good")).obtain().engine
    other = {"path": str(model), "labels": ["cat"], "head": "end_to_end", "input": {"color": "bgr"}}
    changed = describe(configure(model=other))
    assert changed.input.color is Color.BGR
    kept = serving_description(changed, engine)
    assert (kept.labels, kept.head, kept.input.color) == (("car", "dog"), "yolov8", None)
    assert kept.sha256 == engine.manifest.identity.model_sha256


class Opened(Exception):  # noqa: N818 - carries what would have been opened
    def __init__(self, description: ModelDescription, engine: StoredEngine, plan: bytes) -> None:
        super().__init__()
        self.description, self.engine, self.plan = description, engine, plan


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch, jetson: DeviceFacts) -> None:
    """What would be given to TensorRT is raised instead."""

    def open_engine(_: AppConfig, description: ModelDescription, engine: StoredEngine, plan: bytes) -> None:
        raise Opened(description, engine, plan)

    monkeypatch.setattr(engine_backend, "open_engine", open_engine)


@pytest.mark.usefixtures("opens")
def test_the_last_good_engine_serves_while_none_can_be_built(
    configure: Configure,
    jetson: DeviceFacts,
    odd_worker: OddWorker,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = configure()
    good = make_engines(config, jetson, command=odd_worker("good")).obtain()
    save(detector(seed=7), model)
    crashing = odd_worker("crashes")
    monkeypatch.setattr(
        engine_backend,
        "Engines",
        lambda *given, **options: Engines(*given, **options, device=jetson, command=crashing),
    )
    caplog.set_level(logging.ERROR)
    with pytest.raises(Opened) as caught:
        open_engine_backend(config, describe(config), emit=lambda _: None, cancelled=lambda: False)
    assert caught.value.plan == good.plan
    assert caught.value.description.sha256 == good.engine.manifest.identity.model_sha256
    assert "SIGSEGV" in caplog.text
    assert f"serving with the last good engine instead, {good.engine.plan_path.name}" in caplog.text
    with pytest.raises(BuildError, match="it was cancelled"):
        open_engine_backend(config, describe(config), emit=lambda _: None, cancelled=lambda: True)


@pytest.mark.usefixtures("opens")
def test_the_last_good_engine_serves_while_there_are_no_frames_to_calibrate_with(
    configure: Configure,
    jetson: DeviceFacts,
    odd_worker: OddWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = make_engines(configure(), jetson, command=odd_worker("good")).obtain()
    monkeypatch.setattr(
        engine_backend, "Engines", lambda *given, **options: Engines(*given, **options, device=jetson)
    )
    config = configure({"precision": "int8", "calibration": {"source": str(tmp_path / "unplugged.mp4")}})
    with pytest.raises(Opened) as caught:
        open_engine_backend(config, describe(config), emit=lambda _: None, cancelled=lambda: False)
    assert caught.value.plan == good.plan


def test_calibration_tensors_are_the_pipelines_own(
    configure: Configure, jetson: DeviceFacts, odd_worker: OddWorker, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "images", 8)
    config = configure({"precision": "int8", "calibration": {"source": folder, "frames": 8}})
    engines = make_engines(config, jetson)
    chosen = engines._calibrate(folder, tmp_path / "frames.npy")
    tensors = np.load(tmp_path / "frames.npy")
    assert tensors.shape == (8, 3, SIZE, SIZE)
    assert tensors.dtype == np.float32
    assert float(tensors[4, 0, SIZE // 2, SIZE // 2]) == pytest.approx(40 / 255)
    assert len(chosen.sha256) == 64
