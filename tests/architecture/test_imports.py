"""What may import what, and what must not be needed merely to be imported."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import edge_app

ROOT = Path(__file__).parents[2]
CUDA = ("cuda", "pycuda", "tensorrt", "cupy", "torch")
HEAVY = ("amqtt", "cv2", "jsonschema", "numpy", "onnxruntime", "paho", "pydantic", "rich", *CUDA)

BLOCK = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None

sys.meta_path.insert(0, Absent())
"""


def run_python(source: str) -> subprocess.CompletedProcess[str]:
    # The project's folder goes last, so that an installed package is the one that is tested.
    preamble = f"import sys; sys.path.append({str(ROOT)!r})\n"
    return subprocess.run(
        [sys.executable, "-c", preamble + source], capture_output=True, text=True, timeout=100, check=False
    )


def every_module() -> list[str]:
    found = pkgutil.walk_packages(edge_app.__path__, prefix="edge_app.")
    return ["edge_app", *sorted(module.name for module in found if module.name != "edge_app.__main__")]


def test_imports_point_one_way() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed in this environment")
    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_module_imports_where_there_is_no_cuda() -> None:
    modules = every_module()
    assert {"edge_app.messages", "edge_app.cli", "edge_app.infer.onnxruntime"} <= set(modules)
    result = run_python(
        BLOCK.format(names=CUDA)
        + f"""
import importlib, traceback
failed = []
for name in {modules!r}:
    try:
        importlib.import_module(name)
    except BaseException:
        failed.append(name + chr(10) + traceback.format_exc())
print(chr(10).join(failed))
sys.exit(bool(failed))
"""
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_blocked_module_is_really_absent() -> None:
    result = run_python(BLOCK.format(names=("json",)) + "import json")
    assert result.returncode == 1
    assert "No module named 'json'" in result.stderr


@pytest.mark.parametrize(
    ("module", "refused"),
    [
        ("edge_app", HEAVY),
        ("edge_app.cli", HEAVY),
        ("edge_app.errors", HEAVY),
        ("edge_app.messages", set(HEAVY) - {"numpy"}),
        ("edge_app.geometry", set(HEAVY) - {"numpy"}),
        ("edge_app.interfaces", set(HEAVY) - {"numpy"}),
        ("edge_app.config.models", set(HEAVY) - {"numpy", "pydantic"}),
        ("edge_app.evaluate.average_precision", set(HEAVY) - {"numpy"}),
        ("edge_app.infer.onnxruntime", set(HEAVY) - {"numpy", "pydantic"}),
    ],
)
def test_a_light_module_does_not_import_a_heavy_one(module: str, refused: tuple[str, ...] | set[str]) -> None:
    result = run_python(
        f"import {module}\nprint(*sorted(set(name.partition('.')[0] for name in sys.modules)))"
    )
    assert result.returncode == 0, result.stderr
    assert not set(refused) & set(result.stdout.split())


def test_help_imports_nothing_heavy() -> None:
    result = run_python(
        "import atexit\n"
        "atexit.register(lambda: print('LOADED', *{name.partition('.')[0] for name in sys.modules}))\n"
        "sys.argv = ['edge-app', '--help']\n"
        "from edge_app.cli import main\n"
        "main()"
    )
    assert result.returncode == 0, result.stderr
    assert "demo" in result.stdout
    loaded = result.stdout.rpartition("LOADED")[2].split()
    assert "edge_app" in loaded
    assert not set(HEAVY) & set(loaded)
