"""What the building child process is asked to do: a JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_app.engine.options import BuildOptions, CalibrationMethod, HardwareCompatibility, Precision, Profile


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """One build.

    Attributes:
        model: The ONNX model, or for INT8 the quantised one.
        plan: Where the plan is written.
        precision: How the layers calculate.
        profile: Batch sizes and input size.
        options: The builder's options.
        workspace_bytes: Scratch memory for tactics; None for TensorRT's default, all of the GPU's.
        timing_cache: Read if it exists, and written with what was measured; None for no cache.
        calibration: A .npy file of input tensors (N, ...), when `model` is still to be quantised.
        calibration_method: How ranges are chosen from them.
        quantized: Where the quantised model is written; it is kept, so that a later build needs no frames.
        parent_pid: The process whose death ends this build.
    """

    model: str
    plan: str
    precision: Precision
    profile: Profile
    options: BuildOptions
    workspace_bytes: int | None = None
    timing_cache: str | None = None
    calibration: str | None = None
    calibration_method: CalibrationMethod = CalibrationMethod.ENTROPY
    quantized: str | None = None
    parent_pid: int | None = None

    def write(self, path: Path) -> None:
        """Write the specification as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, path: Path) -> BuildSpec:
        """Read what `write` wrote."""
        values: dict[str, Any] = json.loads(path.read_text())
        options = values["options"]
        options["hardware_compatibility"] = HardwareCompatibility(options["hardware_compatibility"])
        values["precision"] = Precision(values["precision"])
        values["calibration_method"] = CalibrationMethod(values["calibration_method"])
        values["profile"] = Profile(**values["profile"])
        values["options"] = BuildOptions(**options)
        return cls(**values)
