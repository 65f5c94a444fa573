"""Which runtime is taken, and what is said when it cannot be had."""

import logging

import pytest

from edge_app.app import detector
from edge_app.app.detector import WAY_OUT, choose_backend, open_detector
from edge_app.config.models import AppConfig, InferenceSection, ModelSection
from edge_app.engine import device
from edge_app.errors import BackendError, ModelError
from edge_app.gpu.driver import count_gpus

no_gpu = pytest.mark.skipif(count_gpus() > 0, reason="this machine has a GPU")


@pytest.mark.parametrize(
    ("wanted", "gpus", "chosen", "why"),
    [
        ("auto", 0, "onnxruntime", "this machine has no NVIDIA GPU"),
        ("auto", 1, "tensorrt", "this machine has 1 NVIDIA GPU"),
        ("auto", 2, "tensorrt", "this machine has 2 NVIDIA GPUs"),
        ("onnxruntime", 1, "onnxruntime", "inference.backend says so"),
        ("tensorrt", 0, "tensorrt", "inference.backend says so"),
    ],
)
def test_the_backend_is_chosen_by_the_machine(
    monkeypatch: pytest.MonkeyPatch, wanted: str, gpus: int, chosen: str, why: str
) -> None:
    monkeypatch.setattr(detector, "count_gpus", lambda: gpus)
    section = InferenceSection.model_validate({"backend": wanted})
    assert choose_backend(section) == (chosen, why)


def test_a_driver_that_does_not_work_is_no_reason_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> int:
        raise BackendError("the NVIDIA driver does not work: cuInit returned CUDA error 804")

    monkeypatch.setattr(detector, "count_gpus", broken)
    with pytest.raises(BackendError, match="CUDA error 804"):
        open_detector(AppConfig())


@no_gpu
def test_without_a_gpu_the_cpu_runs_the_model_and_the_log_says_so_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "edge_app.app")
    found = open_detector(AppConfig(inference=InferenceSection(threads=1, slots=1, max_batch=1)))
    found.backend.close()
    assert found.backend.model.backend == "onnxruntime"
    assert found.backend.model.engine_sha256 is None
    first, second = [record.getMessage() for record in caplog.records]
    assert first == "backend onnxruntime: this machine has no NVIDIA GPU"
    assert second.startswith("model demo (sha256 ")


@no_gpu
def test_tensorrt_without_a_gpu_is_an_error_with_a_way_out() -> None:
    with pytest.raises(BackendError, match="this machine has no NVIDIA GPU") as caught:
        open_detector(AppConfig(inference=InferenceSection(backend="tensorrt")))
    assert WAY_OUT in str(caught.value)


@no_gpu
def test_a_gpu_that_cannot_be_used_is_an_error_and_not_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (detector, device):
        monkeypatch.setattr(module, "count_gpus", lambda: 1)
    with pytest.raises(BackendError, match="CUDA") as caught:
        open_detector(AppConfig())
    assert str(caught.value).endswith(WAY_OUT)


def test_a_head_that_does_not_fit_is_told_with_the_model() -> None:
    config = AppConfig(
        model=ModelSection(head="end_to_end"), inference=InferenceSection(backend="onnxruntime", threads=1)
    )
    with pytest.raises(ModelError, match=r"demo\.onnx: "):
        open_detector(config)
