"""Parts that the tests of exporting share."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_app.export.module import ExportOptions, ExportReport, export_module

NEEDED = ("torch", "onnxslim", "onnxruntime")


@pytest.fixture
def torch() -> Any:
    """PyTorch, where all that exporting needs is installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed: exporting needs the extra `export`")
    import torch

    torch.manual_seed(0)
    return torch


@pytest.fixture
def zoo(torch: Any) -> Any:
    """The modules to export; their file imports torch."""
    from tests.export import modules

    return modules


Export = Callable[..., ExportReport]


@pytest.fixture
def export(torch: Any, tmp_path: Path) -> Export:
    def run(module: Any, width: int = 96, height: int = 64, **options: Any) -> ExportReport:
        return export_module(module, tmp_path / "model.onnx", ExportOptions(width, height, **options))

    return run
