"""Nothing is told to anybody about what runs here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import edge_app

pytest.importorskip("onnxruntime")


def test_onnx_runtime_keeps_to_itself(tmp_path: Path) -> None:
    """Its telemetry leaves an identifier among the temporary files and in the user's cache."""
    env = {key: value for key, value in os.environ.items() if key not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    env |= dict.fromkeys(("TMPDIR", "HOME", "XDG_CACHE_HOME"), str(tmp_path))
    env["PYTHONPATH"] = str(Path(edge_app.__file__).parents[1])
    script = "import edge_app, onnxruntime; onnxruntime.SessionOptions()"
    subprocess.run([sys.executable, "-c", script], env=env, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []
