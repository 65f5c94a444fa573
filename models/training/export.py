"""Writes the trained network as ONNX and checks it against ONNX Runtime.

python models/training/export.py checkpoint.pt demo.onnx
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from network import Deployed, Detector

from edge_app.scene import LABELS

OPSET = 17  # the newest that TensorRT 8.6 reads


def export(network: Detector, size: int, path: Path) -> float:
    """Writes `path`; returns the largest difference to ONNX Runtime on random images."""
    deployed = Deployed(network.eval(), size).eval()
    sample = torch.rand(2, 3, size, size)
    torch.onnx.export(
        deployed,
        (sample,),
        str(path),
        input_names=["images"],
        output_names=["output0"],
        dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}},
        opset_version=OPSET,
        do_constant_folding=True,
        dynamo=False,
    )
    model = onnx.load(path)
    names = dict(enumerate(LABELS))
    for key, value in {
        "names": names,
        "stride": 32,
        "task": "detect",
        "imgsz": [size, size],
        "license": "Apache-2.0",
    }.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, str(value)
    for axis, length in enumerate((4 + len(LABELS), deployed.strides.numel()), start=1):
        model.graph.output[0].type.tensor_type.shape.dim[axis].dim_value = length
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in (1, 3):
        images = torch.rand(batch, 3, size, size)
        with torch.no_grad():
            expected = deployed(images).numpy()
        (found,) = session.run(None, {"images": images.numpy()})
        worst = max(worst, float(np.abs(found - expected).max()))
    parameters = sum(p.numel() for p in network.parameters())
    print(
        f"{path}: {parameters} parameters, {path.stat().st_size} bytes, max difference {worst:.2e}",
        flush=True,
    )
    return worst


if __name__ == "__main__":
    trained = Detector(len(LABELS))
    trained.load_state_dict(torch.load(sys.argv[1], map_location="cpu"))
    export(trained, 416, Path(sys.argv[2]))
