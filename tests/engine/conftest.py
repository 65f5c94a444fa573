"""Parts that the tests of engines share."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_app.engine.events import BuildEvent
from edge_app.engine.identity import DeviceFacts
from edge_app.engine.store import EngineStore
from tests.engine.models import detector, save

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


@pytest.fixture
def device() -> DeviceFacts:
    return DeviceFacts(tensorrt="8.6.0", cuda="12.2", gpu="Orin", compute_capability="8.7", l4t="36.3")


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(detector(), tmp_path / "detector.onnx")


@pytest.fixture
def events() -> list[BuildEvent]:
    return []


@pytest.fixture
def odd_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], list[str]]:
    """Return the command of a builder that behaves as told."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setenv("EDGE_APP_TEST_FOLDER", str(tmp_path))

    def command(mode: str) -> list[str]:
        monkeypatch.setenv("EDGE_APP_TEST_MODE", mode)
        return [sys.executable, str(HERE / "odd_worker.py")]

    return command


@pytest.fixture
def rtx() -> Any:
    """The module of TensorRT-RTX, whose builder is that of TensorRT 11 and runs without a GPU."""
    return pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")


@pytest.fixture
def rtx_worker(rtx: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("PYTHONPATH", str(Path(rtx.__file__).parents[1]), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    return [sys.executable, str(HERE / "rtx_worker.py")]
