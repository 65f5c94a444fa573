"""Inspections in words: one `heading  value` for each fact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edge_app.engine.identity import EngineIdentity
from edge_app.geometry import InputSpec
from edge_app.inspection.engine import EngineInspection

if TYPE_CHECKING:
    # They import onnx, which an engine does not need.
    from edge_app.inspection.model import ModelInspection
    from edge_app.inspection.onnx_facts import Amount

HEADING_WIDTH = 11
MOST_LABELS = 12
MIB = 1 << 20


def model_text(found: ModelInspection) -> Iterator[str]:
    """Yield a model's facts, line by line."""
    facts = found.facts
    yield f"{found.name}: {found.path}"
    yield _line("file", f"{_bytes(found.file_bytes)}, SHA-256 {found.sha256}")
    for place, size in facts.external.items():
        yield _line("data", f"{place}: {'missing' if size is None else _bytes(size)}")
    yield _line("format", f"ONNX IR {facts.ir_version}, opset {_opsets(facts.opsets)}")
    yield _line("producer", facts.producer or "not said")
    yield from _list("inputs", [str(item) for item in facts.inputs])
    yield from _list("outputs", [str(item) for item in facts.outputs])
    yield _line("operators", ", ".join(f"{name} {count}" for name, count in facts.operators.items()))
    yield _line(
        "parameters",
        f"{facts.parameters.count} ({_bytes(facts.parameters.bytes)}); {_amounts(facts.constants)}",
    )
    yield _line("precision", facts.precision)
    yield _line("labels", f"{_labels(found.labels)} ({found.labels_from})")
    yield _line("used as", _spec(found.input) if found.input else f"not known: {found.input_problem}")
    yield _line("head", f"{found.head.value or 'none'}: {found.head.reason}")
    yield from _list("TensorRT", list(found.warnings) or ["nothing stands against it"])


def engine_text(found: EngineInspection) -> Iterator[str]:
    """Yield an engine's facts, line by line."""
    manifest = found.manifest
    yield f"{manifest.name if manifest else 'engine'}: {found.path}"
    yield _line("file", f"{_bytes(found.file_bytes)}, SHA-256 {found.sha256}")
    if found.header is not None:
        yield _line("header", f"{', '.join(f'{key}: {value}' for key, value in found.header.items())[:400]}")
        yield _line(
            "", "metadata of Ultralytics in front of the plan: TensorRT cannot load the file as it is"
        )
    if found.unsafe is not None:
        yield _line("unsafe", found.unsafe)
    if manifest is None:
        yield _line("manifest", f"none: {found.manifest_problem}")
    else:
        told = (
            "the file is this plan" if found.is_the_plan else f"NOT this file: it says {manifest.plan_sha256}"
        )
        yield _line("manifest", told)
        yield _line("state", manifest.state.value)
        yield from _identity(manifest.identity)
        yield _line("built", f"{manifest.created_at}, in {manifest.build_s:.1f} s")
        yield from _list("", [f"{key}: {value}" for key, value in manifest.build.items()])
        yield from _verification(manifest.verification)
    if found.layers is None:
        yield _line("layers", f"not shown: {found.layers_problem}")
    else:
        yield from _list("layers", [f"{len(found.layers)}:", *found.layers])


def _identity(identity: EngineIdentity) -> Iterator[str]:
    device, profile, options = identity.device, identity.profile, identity.options
    yield _line("model", f"SHA-256 {identity.model_sha256}")
    yield _line("precision", identity.precision.value)
    if identity.calibration_sha256 is not None:
        yield _line("calibrated", f"with the frames {identity.calibration_sha256[:12]}")
    yield _line(
        "built for",
        f"{device.gpu} (compute capability {device.compute_capability}), TensorRT {device.tensorrt}, "
        f"CUDA {device.cuda}" + (f", L4T {device.l4t}" if device.l4t else ""),
    )
    yield _line(
        "profile",
        f"{profile.width}x{profile.height} pixels, batch {profile.min_batch} to {profile.max_batch}, "
        f"best at {profile.opt_batch}",
    )
    core = "the GPU" if options.dla_core is None else f"DLA core {options.dla_core}"
    yield _line(
        "options",
        f"level {options.optimization_level}, on {core}, TF32 {'on' if options.tf32 else 'off'}, "
        f"version compatible {'yes' if options.version_compatible else 'no'}, "
        f"hardware compatibility {options.hardware_compatibility.value}",
    )
    yield _line("recipe", str(identity.recipe))


def _verification(figures: Mapping[str, Any] | None) -> Iterator[str]:
    if figures is None:
        yield _line("verified", "no")
        return
    words = [
        f"{key} {_figure(value)}" for key, value in figures.items() if not isinstance(value, dict | list)
    ]
    lines = [", ".join(words)] if words else []
    for name, output in (figures.get("outputs") or {}).items():
        listed = ", ".join(f"{key} {_figure(value)}" for key, value in output.items())
        lines.append(f"output {name}: {listed}")
    lines += [f"failed: {fault}" for fault in figures.get("faults") or ()]
    yield from _list("verified", lines or ["yes"])


def _figure(value: Any) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _line(heading: str, value: str) -> str:
    return f"  {heading:<{HEADING_WIDTH}}{value}"


def _list(heading: str, values: list[str]) -> Iterator[str]:
    for index, value in enumerate(values):
        yield _line(heading if index == 0 else "", value)


def _bytes(count: int) -> str:
    return f"{count / MIB:.1f} MiB ({count} bytes)" if count >= MIB else f"{count} bytes"


def _opsets(opsets: Mapping[str, int]) -> str:
    return ", ".join(f"{domain} {version}".strip() for domain, version in opsets.items())


def _amounts(constants: Mapping[str, Amount]) -> str:
    return ", ".join(f"{dtype} {amount.count}" for dtype, amount in constants.items()) or "no constants"


def _labels(labels: tuple[str, ...]) -> str:
    if not labels:
        return "not known"
    shown = ", ".join(labels[:MOST_LABELS])
    return f"{len(labels)}: {shown}" + (" ..." if len(labels) > MOST_LABELS else "")


def _spec(spec: InputSpec) -> str:
    return (
        f"{spec.width}x{spec.height} pixels, {spec.layout.value}, {spec.color.value}, "
        f"scale {spec.scale:.6g}, mean {list(spec.mean)}, std {list(spec.std)}, "
        f"{spec.fit.value}, {spec.align.value}, padded with {spec.pad_value}"
    )
