"""The table of TensorRT attributes against real bindings, and against what the code touches."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edge_app.gpu.api_table import TENSORRT_API, Version, has_path, missing_rows
from edge_app.gpu.tensorrt_api import parse_version

ROOT = Path(__file__).parents[2]

CODE = [*(ROOT / "edge_app/gpu").glob("*.py"), *(ROOT / "edge_app/engine").rglob("*.py")]

MODULE_NAMES = {"tensorrt", "trt"}
"""By these names the code knows the module, as a variable or as an attribute of `self`."""

RTX_REASON = "the bindings of TensorRT-RTX are not installed"

WHEEL = "tensorrt_cu13_bindings==11.4.*"
WHEEL_VERSION = (11, 4)


def installed(name: str, reason: str) -> Any:
    return pytest.importorskip(name, reason=reason)


def check(module: ModuleType, version: Version) -> None:
    assert missing_rows(module, version, TENSORRT_API) == []
    gone = [row.path for row in TENSORRT_API if row.until is not None and row.until <= version]
    assert [path for path in gone if has_path(module, path)] == []


def test_the_installed_tensorrt_has_what_its_version_must_have() -> None:
    tensorrt = installed("tensorrt", "TensorRT is not installed")
    check(tensorrt, parse_version(tensorrt.__version__))


def test_tensorrt_rtx_has_what_tensorrt_11_must_have() -> None:
    check(installed("tensorrt_rtx_bindings", RTX_REASON), (11,))


def test_every_method_that_the_code_calls_is_listed() -> None:
    """Names of one word (`name`, `shape`) are other objects' too, and are not looked at."""
    bindings = installed("tensorrt_rtx_bindings", RTX_REASON)
    classes = [value for value in vars(bindings).values() if isinstance(value, type)]
    methods = {name for owner in classes for name in dir(owner) if "_" in name.strip("_")}
    listed = {row.path.rpartition(".")[2] for row in TENSORRT_API}
    unlisted = {
        f"{path.name}: {node.attr}"
        for path in CODE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in methods - listed
    }
    assert sorted(unlisted) == []


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """The bindings of TensorRT 11.4: in EDGE_APP_TENSORRT_WHEELS, or fetched with pip."""
    folder = Path(os.environ.get("EDGE_APP_TENSORRT_WHEELS", tmp_path))
    pattern = "tensorrt_cu13_bindings-11.4*.whl"
    if not list(folder.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        options = ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64"]
        fetched = subprocess.run([*command, *options, WHEEL], capture_output=True, text=True, timeout=100)
        if fetched.returncode:
            pytest.skip("the bindings of TensorRT 11.4 cannot be fetched from the package index")
    return next(folder.glob(pattern))


@pytest.mark.slow
def test_the_names_are_in_the_bindings_of_tensorrt_11(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith((".so", ".py"))]
        content = b"\0".join(archive.read(name) for name in names)
    needed = {part for row in TENSORRT_API if row.exists_in(WHEEL_VERSION) for part in row.path.split(".")}
    assert sorted(name for name in needed if name.encode() not in content) == []


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_attribute_that_the_code_touches_is_listed(path: Path) -> None:
    listed = {row.path for row in TENSORRT_API}
    known = listed | {listed_path.rpartition(".")[0] for listed_path in listed}
    touched = set(_module_paths(ast.parse(path.read_text())))
    assert sorted(touched - known) == []


def _module_paths(tree: ast.AST) -> Iterator[str]:
    """Yield `A.b` for every `tensorrt.A.b`; a longer chain goes on with members of a value."""
    for node in ast.walk(tree):
        chain: list[str] = []
        inner = node
        while isinstance(inner, ast.Attribute):
            chain.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            names = [inner.id, *chain] if inner.id != "self" else chain
            path = [name for name in names[1:3] if not name.startswith("__")]
            if path and names[0] in MODULE_NAMES:
                yield ".".join(path)
