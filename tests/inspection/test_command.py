"""`edge-app inspect`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NO_ONNX = "import sys; sys.modules['onnx'] = None; from edge_app.cli import main; main()"


def edge_app(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_app", "inspect", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_the_shipped_model_is_printed() -> None:
    done = edge_app("demo")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("demo: ")
    assert "  head       yolov8" in done.stdout


def test_one_json_object_is_printed() -> None:
    done = edge_app("models/demo.onnx", "--json")
    assert json.loads(done.stdout)["name"] == "demo"
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model.txt", "cannot tell what this file is by its name"),
        ("none.onnx", "there is no such model file"),
        ("none.engine", "the engine cannot be read"),
    ],
)
def test_what_cannot_be_inspected_is_one_line(name: str, words: str) -> None:
    done = edge_app(name)
    assert done.returncode == 78
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_onnx_the_extra_is_named_and_engines_are_told(tmp_path: Path) -> None:
    engine = tmp_path / "x.engine"
    engine.write_bytes(b"plan")

    def run(file: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", NO_ONNX, "inspect", file]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)

    refused = run("demo")
    assert refused.returncode == 1
    assert "pip install 'edge-app[inspect]'" in refused.stderr
    told = run(str(engine))
    assert told.returncode == 0, told.stderr
    assert "there is no manifest x.json beside it" in told.stdout
