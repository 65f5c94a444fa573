"""`edge-app verify` on labelled pictures, with stand-ins for what needs a GPU."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest

from edge_app.app.detector import Detector, open_detector
from edge_app.config.models import AppConfig, InferenceSection
from edge_app.engine.options import Precision
from edge_app.engine.verify import Thresholds, VerifyReport
from edge_app.engine_commands import verify
from edge_app.engine_commands.verify import labelled_data, map50, run_verification
from edge_app.errors import EXIT_FAILURE
from edge_app.evaluate.datasets import DatasetError, SceneDataset
from tests.fakes import AnsweringBackend, candidates

PASSED = VerifyReport(Precision.FP16, 1, {}, 2, 2, (0.0, 0.0), Thresholds(0.99))


@dataclass
class Compared:
    """How often the boxes were compared, and what comes of it."""

    times: int = 0
    report: VerifyReport = PASSED


@pytest.fixture
def detector() -> Iterator[Detector]:
    opened = open_detector(AppConfig(inference=InferenceSection(backend="onnxruntime", max_batch=1)))
    yield opened
    opened.backend.close()


@pytest.fixture
def annotations(detector: Detector, tmp_path: Path) -> Path:
    """One rendered street in a folder of its own, labelled in COCO's format."""
    labels = detector.backend.model.labels
    scene = next(iter(SceneDataset(labels, seeds=range(100, 101), frames=1, width=1280, height=720)))
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "street.png"), scene.load())
    boxes = [
        {"id": number, "image_id": 1, "category_id": int(class_id), "iscrowd": 0}
        | {"bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]}
        for number, ((x1, y1, x2, y2), class_id, ignored) in enumerate(
            zip(scene.truth.xyxy, scene.truth.class_id, scene.truth.ignore, strict=True), 1
        )
        if not ignored
    ]
    content = {
        "images": [{"id": 1, "file_name": "street.png", "width": 1280, "height": 720}],
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels)],
        "annotations": boxes,
    }
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def compared(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> Compared:
    """An engine that is there, passes and finds nothing."""
    state = Compared()
    backend = AnsweringBackend(
        lambda _: candidates(),
        labels=detector.backend.model.labels,
        input_spec=detector.backend.input_spec,
    )

    class OneEngine:
        store = SimpleNamespace(read=lambda _: b"plan")

        def __init__(self, config: AppConfig, description: Any, **_: Any) -> None:
            self.description = SimpleNamespace(labels=detector.backend.model.labels)

        def require(self) -> Any:
            return SimpleNamespace(plan_path=Path("demo.engine"))

        def verify(self, engine: Any, plan: bytes) -> VerifyReport:
            state.times += 1
            return state.report

    monkeypatch.setattr(verify, "Engines", OneEngine)
    monkeypatch.setattr(verify, "open_engine", lambda *_: backend)
    return state


def test_a_models_precision_on_labelled_pictures_of_ones_own(detector: Detector, annotations: Path) -> None:
    make_dataset = labelled_data(None, annotations, annotations.parent / "pictures")
    assert make_dataset is not None
    found = map50(detector, make_dataset)
    assert found is not None
    assert found > 0.5
    assert labelled_data(None, None, None) is None


def test_the_precision_of_both_sides_is_printed_with_the_difference(
    detector: Detector, annotations: Path, compared: Compared, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = annotations.parent / "pictures"
    make_dataset = labelled_data(None, annotations, pictures)
    assert make_dataset is not None
    model = map50(detector, make_dataset)
    assert run_verification(None, coco=annotations, images=pictures) == 0
    assert f"mAP50: engine 0.0000, model {model:.4f}, differs by -{model:.4f}" in capsys.readouterr().out


def test_without_labelled_data_nothing_is_said_of_precision(
    compared: Compared, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_verification(None) == 0
    said = capsys.readouterr().out
    assert said.startswith("demo.engine\n")
    assert "mAP50" not in said


def test_pictures_on_which_nothing_is_labelled_are_told(
    annotations: Path, compared: Compared, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(annotations.read_text())
    annotations.write_text(json.dumps({**content, "annotations": []}))
    assert run_verification(None, coco=annotations, images=annotations.parent / "pictures") == 0
    assert "no mAP50: no object of the model's classes is labelled" in capsys.readouterr().out


def test_an_engine_that_is_too_far_from_its_model_stays_a_failure(
    annotations: Path, compared: Compared
) -> None:
    compared.report = replace(PASSED, matched=0)
    pictures = annotations.parent / "pictures"
    assert run_verification(None, coco=annotations, images=pictures) == EXIT_FAILURE


def test_missing_pictures_are_told_before_the_comparison(annotations: Path, compared: Compared) -> None:
    with pytest.raises(DatasetError, match=r"1 of 1 images are missing, such as street\.png"):
        run_verification(None, coco=annotations)
    assert compared.times == 0
