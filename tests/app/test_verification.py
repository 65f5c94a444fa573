"""Two backends of one model, and whether they still agree: both are ONNX Runtime here."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge_app.app.engine_frames import as_frame, rendered_images
from edge_app.app.model import describe
from edge_app.app.verification import compare_backends
from edge_app.config.models import AppConfig, EngineSection, InferenceSection, VerificationSection
from edge_app.engine.options import Precision
from edge_app.engine.verify import VerifyReport
from edge_app.infer.model import ModelDescription
from edge_app.infer.onnxruntime import OnnxRuntimeBackend
from edge_app.interfaces import Backend, HeadFactory, Pending, Slot
from edge_app.messages import Frame
from edge_app.preprocess.letterbox import CpuPreprocessor

SECTION = InferenceSection(backend="onnxruntime", threads=1, slots=1, max_batch=1)
CONFIG = AppConfig(inference=SECTION)


@pytest.fixture
def demo() -> ModelDescription:
    return describe(CONFIG)


@pytest.fixture
def spoiled(demo: ModelDescription, tmp_path: Path) -> ModelDescription:
    """The demo model with noise on its weights."""
    model = onnx.load(str(demo.path))
    random = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim == 4:
            noise = random.normal(0, 0.3 * values.std(), values.shape).astype(values.dtype)
            tensor.CopyFrom(numpy_helper.from_array(values + noise, tensor.name))
    path = tmp_path / "spoiled.onnx"
    onnx.save(model, str(path))
    return replace(demo, path=path)


class MixesUpBatches(OnnxRuntimeBackend):
    """A backend that is right as long as a frame is alone."""

    def submit(self, slot: Slot, frames: Sequence[Frame]) -> Pending:
        return super().submit(slot, frames[::-1])


def maker(description: ModelDescription) -> Callable[[HeadFactory], Backend]:
    return lambda head: OnnxRuntimeBackend(description, SECTION, CpuPreprocessor, head)


def compare(config: AppConfig, demo: ModelDescription, candidate: ModelDescription) -> VerifyReport:
    frames = map(as_frame, rendered_images(2))
    return compare_backends(config, demo, maker(demo), maker(candidate), Precision.FP16, frames)


def test_a_model_agrees_with_itself(demo: ModelDescription) -> None:
    report = compare(CONFIG, demo, demo)
    assert report.passed
    assert (report.frames, report.match_rate) == (2, 1.0)
    assert report.counted > 5
    assert report.outputs["output0"].max_error == 0.0


def test_a_spoiled_model_is_found_out(demo: ModelDescription, spoiled: ModelDescription) -> None:
    report = compare(CONFIG, demo, spoiled)
    assert not report.passed
    assert report.match_rate is not None
    assert report.match_rate < 0.99
    assert "of the boxes match, wanted are 99.00%" in "; ".join(report.faults)


def test_the_configuration_says_how_close_is_close_enough(
    demo: ModelDescription, spoiled: ModelDescription
) -> None:
    lenient = EngineSection(verification=VerificationSection(matched=0.0))
    assert compare(AppConfig(inference=SECTION, engine=lenient), demo, spoiled).passed


@pytest.mark.parametrize("count", [3, 4])
def test_every_frame_is_looked_at_in_a_full_batch_too(demo: ModelDescription, count: int) -> None:
    section = SECTION.model_copy(update={"max_batch": 2})

    def compare_with(kind: type[OnnxRuntimeBackend]) -> VerifyReport:
        return compare_backends(
            CONFIG,
            demo,
            maker(demo),
            lambda head: kind(demo, section, CpuPreprocessor, head),
            Precision.FP16,
            map(as_frame, rendered_images(count)),
        )

    right, wrong = compare_with(OnnxRuntimeBackend), compare_with(MixesUpBatches)
    assert (right.passed, right.match_rate, right.frames) == (True, 1.0, count)
    assert (wrong.passed, wrong.batch, wrong.frames) == (False, 2, count)
    assert "of the boxes match in batches of 2, wanted are 99.00%" in "; ".join(wrong.faults)
    assert f"{count} frames, in batches of 2" in str(wrong)
