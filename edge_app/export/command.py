"""What `edge-app export` does."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_app.errors import ConfigError
from edge_app.export.errors import EXPORT_EXTRA, ExportError
from edge_app.export.source import load_source
from edge_app.files.writable import require_writable

SIDE_PX = (32, 4096)


def run_export(
    source: str,
    *,
    output: Path,
    checkpoint: Path | None,
    size: str,
    opset: int,
    labels: str | None,
    name: str | None,
    stride: int,
    simplify: bool,
    tolerance: float,
    json_output: bool,
) -> None:
    """Export and print what was written.

    Args:
        source: `package.module:attribute` or a TorchScript file; see `load_source`.
        output: The ONNX file to write.
        checkpoint: State dict for the module.
        size: Of the input: `640x640`.
        opset: Version of ONNX's operators.
        labels: Names with commas between them, or a text file with one on each line.
        name: Of the model; None: that of the file.
        stride: Of the coarsest grid, for the metadata.
        simplify: Whether to fold constants and the arithmetic of shapes.
        tolerance: Largest difference to the module, as a share of the magnitude.
        json_output: Print one JSON object instead.

    Raises:
        ConfigError, ExportError: What is wrong, explained.
    """
    width, height = parse_size(size)
    names = parse_labels(labels)
    if output.suffix != ".onnx":
        raise ConfigError(f"--output is {str(output)!r}", hint="Its name must end in .onnx.")
    require_writable(output, "--output")
    module = load_source(source, checkpoint)
    try:
        from edge_app.export.module import ExportOptions, export_module
    except ImportError as error:
        raise ExportError(f"{error.name} cannot be imported: {error}", hint=EXPORT_EXTRA) from None
    options = ExportOptions(width, height, opset, name, names, stride, simplify=simplify, tolerance=tolerance)
    report = export_module(module, output, options)
    if json_output:
        values = {**asdict(report), "largest_difference": report.largest_difference}
        sys.stdout.write(json.dumps(values, default=str) + "\n")
        return
    for line in describe(report):
        sys.stdout.write(line + "\n")


def describe(report: Any) -> list[str]:
    """Return an `ExportReport` in words, line by line."""
    width, height = report.size
    outputs = [
        f"  output  {item.name} [{', '.join('batch' if axis is None else str(axis) for axis in item.shape)}]"
        for item in report.outputs
    ]
    differences = [
        f"  against torch, {item.batch} random image{'s' if item.batch > 1 else ''}, {item.output}: "
        f"largest difference {item.largest:.2g}, {item.share:.2g} of the magnitude (limit {item.limit:.2g})"
        for item in report.differences
    ]
    file = f"{report.path}: {report.path.stat().st_size} bytes, opset {report.opset}"
    return [
        f"{file}, {report.nodes} nodes (traced: {report.traced_nodes}), {report.parameters} parameters",
        f"  input   images [batch, 3, {height}, {width}]",
        *outputs,
        *differences,
        *([f"  weights {report.data_path}"] if report.data_path else []),
        f"  sha256  {report.sha256}",
    ]


def parse_size(text: str) -> tuple[int, int]:
    """Return width and height in pixels. Raises ConfigError."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    sides = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(SIDE_PX[0] <= side <= SIDE_PX[1] for side in sides):
        raise ConfigError(
            f"--size is {text!r}",
            hint=f"Write width and height like 640x640, each {SIDE_PX[0]} to {SIDE_PX[1]} pixels.",
        )
    return sides


def parse_labels(text: str | None) -> tuple[str, ...]:
    """Return the labels that are listed, or that a text file lists. Raises ConfigError."""
    if text is None:
        return ()
    path = Path(text)
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--labels: {text}: cannot be read: {error}") from None
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels or len(set(labels)) != len(labels):
        raise ConfigError(
            f"--labels is {text[:80]!r}: there must be labels, and each only once",
            hint="Write them like person,car, or name a text file with one on each line.",
        )
    return labels
