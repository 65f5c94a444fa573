"""Whether an exported model is fit for TensorRT, valid, and still the module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from edge_app.export.errors import EXPORT_EXTRA, ExportError
from edge_app.export.source import import_torch
from edge_app.export.trace import INPUT_NAME, OutputShape, flat_module

CHECKED_BATCHES = (1, 3)
SEED = 20240

CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})


@dataclass(frozen=True, slots=True)
class Difference:
    """How far an output of the model is from the module's, on random images.

    Attributes:
        output: Its name.
        batch: How many images.
        largest: Largest absolute difference.
        share: Largest difference as a share of the magnitude of the values around it; see `_magnitude`.
        limit: Largest share that was allowed.
    """

    output: str
    batch: int
    largest: float
    share: float
    limit: float


def refuse_unfit(model: ModelProto) -> None:
    """Raise ExportError if the graph has control flow, or nodes that only training has."""
    for node in model.graph.node:
        if node.op_type in CONTROL_FLOW:
            raise ExportError(
                f"the graph has a {node.op_type} ({node.name!r}): what it calculates depends on the data, "
                "and TensorRT may not take it",
                hint="Decide with Python values such as shapes, which tracing makes constant; "
                "trace a scripted module instead of exporting the script.",
            )
        if node.op_type == "Dropout" or _trains(node):
            raise ExportError(
                f"the graph has a {node.op_type} in training mode ({node.name!r})",
                hint="Pass training=self.training to dropout and normalisation functions.",
            )


def check_valid(path: Path) -> None:
    """Raise ExportError if ONNX's own checker finds fault with the file, shapes included."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        raise ExportError(f"the exported model is not valid: {error}") from error


def compare(
    path: Path,
    module: Any,
    outputs: Sequence[OutputShape],
    size: tuple[int, int],
    tolerance: float,
) -> tuple[Difference, ...]:
    """Run the model with ONNX Runtime and the module with torch on the same random images, 0..1.

    Args:
        path: The model.
        module: The module that it was made from.
        outputs: The model's outputs.
        size: Width and height of the input in pixels.
        tolerance: Becomes `Difference.limit`.

    Raises:
        ExportError: The model cannot be run at a batch size, or an output is too far from the module's.
    """
    torch = import_torch()
    session, flat = _session(path), flat_module(module)
    random = np.random.default_rng(SEED)
    width, height = size
    found: list[Difference] = []
    for batch in CHECKED_BATCHES:
        images = random.random((batch, 3, height, width), dtype=np.float32)
        with torch.no_grad():
            expected = [tensor.numpy() for tensor in flat(torch.from_numpy(images))]
        try:
            actual = session.run([output.name for output in outputs], {INPUT_NAME: images})
        except Exception as error:
            raise ExportError(
                f"the exported model does not run with {batch} images: {' '.join(str(error).split())[:600]}",
                hint="Is the batch size a fixed number somewhere in the module? Use images.shape[0].",
            ) from error
        found += [
            measure(output.name, batch, a, b, tolerance)
            for output, a, b in zip(outputs, expected, actual, strict=True)
        ]
    return tuple(found)


def measure(
    name: str, batch: int, expected: NDArray[Any], actual: NDArray[Any], tolerance: float
) -> Difference:
    """Return how far `actual` is from `expected`, (batch, ...) both.

    Raises:
        ExportError: The shapes differ, `expected` is not finite, or the tolerance is exceeded.
    """
    if expected.shape != actual.shape:
        raise ExportError(
            f"with {batch} images output {name!r} is {list(actual.shape)}, "
            f"the module's {list(expected.shape)}",
            hint="Is the batch size a fixed number somewhere in the module? Use images.shape[0].",
        )
    if not np.isfinite(expected).all():
        raise ExportError(f"output {name!r} of the module is not finite on random images")
    wanted = expected.astype(np.float64)
    errors = np.abs(actual.astype(np.float64) - wanted)
    largest = float(errors.max(initial=0.0))
    share = float((errors / _magnitude(wanted)).max(initial=0.0))
    # A NaN of the model is not within any tolerance.
    if not share <= tolerance:
        raise ExportError(
            f"with {batch} images output {name!r} differs from the module's by {largest:.3g}, "
            f"which is {share:.3g} of its magnitude; allowed is {tolerance:.3g}",
            hint="Does the module use random numbers, or a value of its first image as a constant? "
            "--no-simplify tells whether simplifying is the cause.",
        )
    return Difference(name, batch, largest, share, tolerance)


def _magnitude(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return against what each value's error is measured.

    A detector's output has coordinates up to 640 beside confidences up to 1, in rows or in columns. So each
    value gets the largest magnitude of its own row or column, whichever is smaller, and at least 1.
    """
    sizes = np.abs(values)
    scale = np.full_like(sizes, sizes.max(initial=1.0))
    for axis in range(1, values.ndim):
        others = tuple(other for other in range(values.ndim) if other != axis)
        np.minimum(scale, sizes.max(axis=others, keepdims=True, initial=0.0), out=scale)
    return np.maximum(scale, 1.0)


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ExportError(f"ONNX Runtime cannot be imported: {error}", hint=EXPORT_EXTRA) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ExportError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the exported model: {error}"
        ) from error


def _trains(node: NodeProto) -> bool:
    return node.op_type == "BatchNormalization" and any(
        item.name == "training_mode" and item.i for item in node.attribute
    )
