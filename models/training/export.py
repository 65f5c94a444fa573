"""Writes the trained network as ONNX and checks it against ONNX Runtime.

python models/training/export.py checkpoint.pt demo.onnx
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from network import Deployed, Detector

from edge_app.export.module import ExportOptions, export_module
from edge_app.scene import LABELS


def export(network: Detector, size: int, path: Path) -> float:
    """Writes `path`; returns the largest difference to ONNX Runtime on random images."""
    report = export_module(
        Deployed(network, size),
        path,
        ExportOptions(size, size, labels=LABELS, metadata={"license": "Apache-2.0"}),
    )
    print(
        f"{path}: {report.parameters} parameters, {path.stat().st_size} bytes, "
        f"max difference {report.largest_difference:.2e}",
        flush=True,
    )
    return report.largest_difference


if __name__ == "__main__":
    trained = Detector(len(LABELS))
    trained.load_state_dict(torch.load(sys.argv[1], map_location="cpu", weights_only=True))
    export(trained, 416, Path(sys.argv[2]))
