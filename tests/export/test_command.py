"""`edge-app export`, and what it needs."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_app.errors import ConfigError
from edge_app.export.command import parse_labels, parse_size

ROOT = Path(__file__).parents[2]


def edge_app(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_app", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_a_module_is_exported_and_inspected(zoo: Any, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("person\ncar\n")
    options = ["--output", "street.onnx", "--size", "96x64", "--labels", str(labels), "--json"]
    done = edge_app("export", "tests.export.modules:detector", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["largest_difference"] < 1e-4
    inspected = json.loads(edge_app("inspect", "street.onnx", "--json", cwd=tmp_path).stdout)
    assert inspected["labels"] == ["person", "car"]
    assert inspected["head"]["value"] == "yolov8"
    assert inspected["sha256"] == report["sha256"]
    assert inspected["facts"]["fault"] is None


def test_a_place_that_cannot_be_written_is_told_before_the_module_is_loaded(tmp_path: Path) -> None:
    done = edge_app("export", "no.such.module:at_all", "-o", "nowhere/m.onnx", cwd=tmp_path)
    assert done.returncode != 0
    assert "nowhere/m.onnx cannot be written: No such file or directory" in done.stderr


def test_the_differences_are_printed(zoo: Any, tmp_path: Path) -> None:
    done = edge_app(
        "export", "tests.export.modules:detector", "-o", "m.onnx", "--size", "64x64", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "largest difference" in line]
    assert [line.partition(",")[2].split(",")[0].strip() for line in lines] == [
        "1 random image",
        "3 random images",
    ]
    assert all("(limit " in line for line in lines)


def test_a_refusal_is_one_line(zoo: Any, tmp_path: Path) -> None:
    done = edge_app("export", "tests.export.modules:AlwaysDropping", "-o", "m.onnx", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("edge-app: the graph has a Dropout in training mode")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_pytorch_the_extra_is_named(tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is not None:
        pytest.skip("PyTorch is installed here")
    done = edge_app("export", "mine:net", "-o", "m.onnx", cwd=tmp_path)
    assert done.returncode == 1
    assert "PyTorch cannot be imported" in done.stderr
    assert "pip install 'edge-app[export]'" in done.stderr


def test_the_output_is_named_as_an_onnx_file(tmp_path: Path) -> None:
    done = edge_app("export", "mine:net", "-o", "m.engine", cwd=tmp_path)
    assert done.returncode == 78
    assert "must end in .onnx" in done.stderr


@pytest.mark.parametrize(("text", "size"), [("640x480", (640, 480)), ("32x4096", (32, 4096))])
def test_a_size_is_width_and_height(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["640", "640x", "0x640", "640x31", "4097x640", "-1x640", "640x480x3"])
def test_another_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--size"):
        parse_size(text)


def test_labels_are_listed_or_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("person\n\n traffic light \n")
    assert parse_labels(str(file)) == ("person", "traffic light")
    assert parse_labels("person, traffic light") == ("person", "traffic light")
    assert parse_labels(None) == ()


@pytest.mark.parametrize("text", ["", ",", "car,car"])
def test_labels_that_name_nothing_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="each only once"):
        parse_labels(text)
