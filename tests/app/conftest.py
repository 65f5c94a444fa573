"""Parts that the tests of the composition root share."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_app.engine.identity import DeviceFacts

ROOT = Path(__file__).parents[2]


@pytest.fixture
def jetson() -> DeviceFacts:
    """A machine whose GPU shares the system's memory, so that nobody asks a GPU for it."""
    return DeviceFacts(tensorrt="8.6.2", cuda="12.2", gpu="Orin", compute_capability="8.7", l4t="36.3")


@pytest.fixture
def odd_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], list[str]]:
    """Return the command of a builder that behaves as told; see tests/engine/odd_worker.py."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setenv("EDGE_APP_TEST_FOLDER", str(tmp_path))

    def command(mode: str) -> list[str]:
        monkeypatch.setenv("EDGE_APP_TEST_MODE", mode)
        return [sys.executable, str(ROOT / "tests" / "engine" / "odd_worker.py")]

    return command
