"""An engine on disk: what its manifest says, whether the plan still is that, and its layers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge_app.engine.errors import DamagedEngineError, UnsafeStoreError
from edge_app.engine.identity import EngineIdentity, differences
from edge_app.engine.manifest import Manifest, read_manifest
from edge_app.engine.ownership import check_ownership, refuse_url
from edge_app.errors import EdgeAppError, ModelError
from edge_app.inspection.layers import parse_layers

HEADER_LENGTH_BYTES = 4
LONGEST_HEADER = 1 << 20


@dataclass(frozen=True, slots=True)
class EngineInspection:
    """What is known of an engine.

    Attributes:
        path: The plan.
        sha256: Of the file.
        file_bytes: Its size.
        manifest: What the file beside it says; None without one.
        manifest_problem: Why there is none.
        is_the_plan: Whether the plan is the one that the manifest describes; None without a manifest.
        unsafe: Why somebody else might have written it; None if nobody could.
        header: Metadata in front of the plan, as the exporter of Ultralytics writes it; None without.
        layers: One line for each layer; None where they are not known.
        layers_problem: Why they are not known.
    """

    path: Path
    sha256: str
    file_bytes: int
    manifest: Manifest | None
    manifest_problem: str | None
    is_the_plan: bool | None
    unsafe: str | None
    header: Mapping[str, Any] | None
    layers: tuple[str, ...] | None
    layers_problem: str | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "kind": "engine", "path": str(self.path)}


def inspect_engine(path: Path) -> EngineInspection:
    """Return what is known of an engine; its plan is deserialised only if it is what its manifest says.

    Nothing is changed: a damaged engine is not set aside, as the store would do.

    Raises:
        ModelError: The file is missing or empty.
        UnsafeStoreError: It is a URL.
    """
    refuse_url(path)
    try:
        plan = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: the engine cannot be read: {error.strerror}") from None
    if not plan:
        raise ModelError(f"{path}: the engine file is empty", hint="Build it again: edge-app build.")
    sha256 = hashlib.sha256(plan).hexdigest()
    manifest, problem = _manifest(path)
    is_the_plan = None if manifest is None else manifest.plan_sha256 == sha256
    unsafe = _unsafe(path)
    layers, layers_problem = _layers(path, plan, manifest, is_the_plan, unsafe)
    return EngineInspection(
        path=path,
        sha256=sha256,
        file_bytes=len(plan),
        manifest=manifest,
        manifest_problem=problem,
        is_the_plan=is_the_plan,
        unsafe=unsafe,
        header=read_header(plan),
        layers=layers,
        layers_problem=layers_problem,
    )


def read_header(plan: bytes) -> Mapping[str, Any] | None:
    """Return the metadata in front of a plan: its length (int32, little endian), then JSON; None without."""
    length = int.from_bytes(plan[:HEADER_LENGTH_BYTES], "little", signed=True)
    if not 2 <= length <= min(LONGEST_HEADER, len(plan) - HEADER_LENGTH_BYTES):
        return None
    try:
        header = json.loads(plan[HEADER_LENGTH_BYTES : HEADER_LENGTH_BYTES + length])
    except (ValueError, RecursionError):
        return None
    return header if isinstance(header, dict) else None


def _manifest(path: Path) -> tuple[Manifest | None, str | None]:
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None, f"there is no manifest {beside.name} beside it"
    try:
        check_ownership(beside)
        return read_manifest(beside), None
    except (DamagedEngineError, UnsafeStoreError) as error:
        return None, str(error)


def _unsafe(path: Path) -> str | None:
    try:
        check_ownership(path.absolute().parent)
        check_ownership(path)
    except UnsafeStoreError as error:
        return str(error)
    return None


def _layers(
    path: Path, plan: bytes, manifest: Manifest | None, is_the_plan: bool | None, unsafe: str | None
) -> tuple[tuple[str, ...] | None, str | None]:
    """Return the layers, or why the plan, which is code, was not given to TensorRT."""
    if manifest is None:
        return None, "without a manifest nobody knows what this plan is"
    if not is_the_plan:
        return None, "the plan is not the one that its manifest describes"
    if unsafe is not None:
        return None, unsafe
    try:
        return _ask_tensorrt(path, plan, manifest.identity), None
    except (EdgeAppError, ValueError) as error:
        return None, str(error)


def _ask_tensorrt(path: Path, plan: bytes, built: EngineIdentity) -> tuple[str, ...]:
    from edge_app.engine.device import this_device
    from edge_app.gpu.context import open_gpu
    from edge_app.gpu.inspector import read_layers

    # The GPU first: without one, constructing TensorRT's objects may end the process.
    gpu = open_gpu()
    foreign = differences(built, replace(built, device=this_device()))
    if foreign:
        raise ModelError(f"this machine cannot load it: {'; '.join(foreign)}")
    return parse_layers(read_layers(gpu, plan, path, host_code=built.options.version_compatible))
