"""A module becomes an ONNX graph whose one dynamic axis is the batch."""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto, load_model

from edge_app.export.errors import ExportError
from edge_app.export.source import import_torch

INPUT_NAME = "images"
BATCH_AXIS = "batch"
TRIAL_BATCHES = (2, 3)
"""Not 1: a tracer takes an axis of one for one that broadcasts."""


@dataclass(frozen=True, slots=True)
class OutputShape:
    """An output: its name, and its shape with None for the batch."""

    name: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Traced:
    """The graph as the exporter wrote it, and what the module's outputs are."""

    model: ModelProto
    outputs: tuple[OutputShape, ...]


def flat_module(module: Any) -> Any:
    """Return `module` with a flat tuple of tensors as output, switched to evaluation mode, FP32, the CPU."""
    torch = import_torch()

    class Flat(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, images: Any) -> tuple[Any, ...]:
            return tuple(tensor for _, tensor in _tensors(self.module(images)))

    flat = Flat().cpu().float().eval()
    # A module may refuse to be switched (`train` overridden) or switch its parts back.
    training = [name for name, part in flat.named_modules() if part.training]
    if training:
        raise ExportError(f"part {training[0]!r} of the module stays in training mode after eval()")
    return flat


def trace(module: Any, width: int, height: int, opset: int) -> Traced:
    """Return the ONNX graph of a module.

    Args:
        module: Takes float32 images (batch, 3, height, width), returns tensors in tuples, lists, mappings.
        width: Of the input in pixels.
        height: Of the input in pixels.
        opset: Version of ONNX's operators.

    Raises:
        ExportError: It cannot be run or traced, or an axis other than an output's first follows the batch.
    """
    torch = import_torch()
    flat = flat_module(module)
    outputs = _output_shapes(flat, width, height)
    options: dict[str, Any] = {
        "input_names": [INPUT_NAME],
        "output_names": [output.name for output in outputs],
        "dynamic_axes": {
            INPUT_NAME: {0: BATCH_AXIS},
            **{output.name: {0: BATCH_AXIS} for output in outputs if output.shape[:1] == (None,)},
        },
        "opset_version": opset,
        "do_constant_folding": True,
        "training": torch.onnx.TrainingMode.EVAL,
    }
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        # The newer exporter writes opset 18 and later; what it converts down to 17 often stays at 18.
        options["dynamo"] = False
    sample = torch.zeros(TRIAL_BATCHES[0], 3, height, width)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # They speak of values that tracing makes constant; the comparison with torch is the judge of that.
        warnings.simplefilter("ignore")
        path = Path(folder) / "traced.onnx"
        try:
            torch.onnx.export(_scripted(flat, sample), (sample,), str(path), **options)
        except Exception as error:
            raise ExportError(
                f"PyTorch {torch.__version__} cannot export the module at opset {opset}: "
                f"{type(error).__name__}: {' '.join(str(error).split())[:600]}",
                hint="Replace the operator that it names, or choose another --opset.",
            ) from error
        return Traced(load_model(str(path)), outputs)


def _scripted(flat: Any, sample: Any) -> Any:
    """Return a module that the exporter can go through: its own tracer does not enter TorchScript."""
    torch = import_torch()
    if any(isinstance(part, torch.jit.ScriptModule) for part in flat.modules()):
        return torch.jit.trace(flat, (sample,), check_trace=False)
    return flat


def _output_shapes(flat: Any, width: int, height: int) -> tuple[OutputShape, ...]:
    torch = import_torch()
    trials: list[list[tuple[str | None, Any]]] = []
    for batch in TRIAL_BATCHES:
        images = torch.zeros(batch, 3, height, width)
        try:
            with torch.no_grad():
                trials.append(list(_tensors(flat.module(images))))
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(
                f"the module cannot be run on images [{batch}, 3, {height}, {width}]: "
                f"{type(error).__name__}: {' '.join(str(error).split())[:600]}",
                hint="It must take one float32 tensor of that shape for every batch size; see --size.",
            ) from error
    if not trials[0] or len(trials[0]) != len(trials[1]):
        raise ExportError(f"the module returns {len(trials[0])} and {len(trials[1])} tensors")
    names = _names([key for key, _ in trials[0]])
    pairs = zip(names, *trials, strict=True)
    return tuple(
        OutputShape(name, _with_batch(name, tuple(a.shape), tuple(b.shape))) for name, (_, a), (_, b) in pairs
    )


def _with_batch(name: str, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int | None, ...]:
    same_rank = len(first) == len(second)
    moving = [axis for axis, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]]
    if not same_rank or (moving and (moving != [0] or (first[0], second[0]) != TRIAL_BATCHES)):
        raise ExportError(
            f"output {name!r} is {list(first)} for {TRIAL_BATCHES[0]} images and {list(second)} for "
            f"{TRIAL_BATCHES[1]}: only its first axis may follow the batch, one entry for each image",
            hint="Leave out non-maximum suppression and whatever else makes as many rows as it finds.",
        )
    return (None, *first[1:]) if moving else first


def _tensors(value: Any, key: str | None = None) -> Iterator[tuple[str | None, Any]]:
    torch = import_torch()
    if isinstance(value, torch.Tensor):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _tensors(item, str(name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif value is not None:
        raise ExportError(f"the module returns {type(value).__name__}; only tensors can be exported")


def _names(keys: list[str | None]) -> list[str]:
    names = [key or f"output{index}" for index, key in enumerate(keys)]
    distinct = len({*names, INPUT_NAME}) == len(names) + 1
    return names if distinct else [f"output{index}" for index in range(len(names))]
