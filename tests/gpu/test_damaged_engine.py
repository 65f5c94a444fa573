"""Damaged engines, each loaded in a process of its own: TensorRT does not promise to survive them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_app.gpu.context import Gpu
from tests.gpu.plans import DOUBLE_RANGE, build_plan, double, write_plan

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]

LOAD = """
import sys
from pathlib import Path
sys.path.append({root!r})
from edge_app.errors import ModelError
from edge_app.gpu.context import open_gpu
from edge_app.gpu.engine import LoadedEngine
from edge_app.gpu.resource import live_resources
gpu = open_gpu()
with gpu.attach():
    try:
        LoadedEngine(gpu, Path({path!r}).read_bytes(), Path({path!r}))
    except ModelError as error:
        print("refused:", error, live_resources())
"""


@pytest.fixture(scope="module")
def plan(gpu: Gpu) -> bytes:
    return build_plan(double(), DOUBLE_RANGE)


@pytest.mark.parametrize("damage", ["header", "half", "four bytes", "onnx", "json header"])
def test_a_file_that_is_no_engine_is_refused_in_tensorrts_words(
    plan: bytes, tmp_path: Path, damage: str
) -> None:
    damaged = {
        "header": b"\xff" * 16 + plan[16:],
        "half": plan[: len(plan) // 2],
        "four bytes": plan[:4],
        "onnx": double(),
        "json header": b"\x12\x00\x00\x00" + b'{"task": "detect"}' + plan,
    }[damage]
    path = write_plan(tmp_path, damaged)
    source = LOAD.format(root=str(ROOT), path=str(path))
    result = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "refused:" in result.stdout
    assert "model.engine: TensorRT" in result.stdout
    assert "cannot load this engine: " in result.stdout
    assert "it gave no reason" not in result.stdout
    assert result.stdout.rstrip().endswith("edge-app build. {}")
