"""Building in a child process, with less workspace when memory runs out, while this process lives on."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_app.engine.build_spec import BuildSpec
from edge_app.engine.child import BuildChild, ChildEnd
from edge_app.engine.errors import BuildError
from edge_app.engine.events import BuildEvent, EventKind, EventSink, FailureKind
from edge_app.engine.options import BuildLimits
from edge_app.memory import MIB, available_bytes

logger = logging.getLogger(__name__)

WORKER_COMMAND = (sys.executable, "-m", "edge_app.engine.worker")
SMALLEST_WORKSPACE_BYTES = 16 * MIB
MEMORY_SHARE = 0.9
HINTS = {
    FailureKind.OUT_OF_MEMORY.value: "Close other programs, add swap, or lower engine.optimization_level.",
    "cancelled": "Start the build again; measured tactics are kept in the timing cache.",
}


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A build that succeeded.

    Attributes:
        build_s: Seconds that the successful attempt took.
        attempts: How many attempts there were.
        workspace_bytes: The workspace of the successful one; None for TensorRT's default.
        peak_bytes: Most resident memory of the child.
        notes: What was decided on the way, for people.
    """

    build_s: float
    attempts: int
    workspace_bytes: int | None
    peak_bytes: int
    notes: tuple[str, ...]


def build(
    spec: BuildSpec,
    limits: BuildLimits,
    emit: EventSink,
    *,
    free_device_bytes: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    command: Sequence[str] = WORKER_COMMAND,
) -> BuildResult:
    """Build what `spec` says; blocks, and the child does not outlive the calling thread.

    Args:
        spec: What to build.
        limits: Bounds of memory, time and attempts.
        emit: Told of progress, from this thread.
        free_device_bytes: Free memory of the GPU; the system's counts if it is not given, as on a Jetson.
        cancelled: Asked often; the build is ended once it is true.
        command: The child process, which gets the path of the specification.

    Raises:
        BuildError: It failed; kind, hint and details say why.
    """
    workspace = _first_workspace(limits, free_device_bytes)
    notes: list[str] = []

    def note(event: BuildEvent) -> None:
        if event.kind is EventKind.NOTE:
            notes.append(event.text)
        emit(event)

    for attempt in range(1, limits.attempts + 1):
        memory_bytes = (limits.memory_mib or 0) * MIB or int(available_bytes() * MEMORY_SHARE)
        tried = replace(spec, workspace_bytes=workspace, parent_pid=os.getpid())
        end = _run(tried, BuildChild(memory_bytes, limits.timeout_s, cancelled), command, note)
        if end.last is not None and end.last.kind is EventKind.RESULT:
            build_s = float(end.last.data["build_s"])
            return BuildResult(build_s, attempt, workspace, end.peak_bytes, tuple(notes))
        error = _explain(end, spec)
        spec = _keep_quantized(spec)
        halved = max(workspace // 2, SMALLEST_WORKSPACE_BYTES)
        if error.kind != FailureKind.OUT_OF_MEMORY.value or attempt == limits.attempts or halved == workspace:
            raise error
        note(
            BuildEvent(
                EventKind.NOTE,
                f"{error.message.splitlines()[0]}; attempt {attempt + 1} of {limits.attempts} "
                f"with a workspace of {halved // MIB} MiB instead of {workspace // MIB}",
            )
        )
        workspace = halved
    raise AssertionError("every attempt returns or raises")


def _run(spec: BuildSpec, child: BuildChild, command: Sequence[str], emit: EventSink) -> ChildEnd:
    with tempfile.TemporaryDirectory(prefix="edge-app-build-") as folder:
        path = Path(folder) / "spec.json"
        spec.write(path)
        return child.run([*command, str(path)], emit)


def _first_workspace(limits: BuildLimits, free_device_bytes: int | None) -> int:
    if limits.workspace_mib is not None:
        return limits.workspace_mib * MIB
    free = available_bytes() if free_device_bytes is None else free_device_bytes
    return max(free // 2, SMALLEST_WORKSPACE_BYTES)


def _keep_quantized(spec: BuildSpec) -> BuildSpec:
    """Spare the next attempt the calibration if this one finished it."""
    if spec.quantized is None or spec.calibration is None or not Path(spec.quantized).exists():
        return spec
    return replace(spec, model=spec.quantized, calibration=None)


def _explain(end: ChildEnd, spec: BuildSpec) -> BuildError:
    if end.last is not None:
        data = end.last.data
        kind = str(data.get("kind", FailureKind.BUILD.value))
        hint = data.get("hint") or HINTS.get(kind)
        return BuildError(
            f"{spec.model}: {end.last.text}", hint=hint, kind=kind, details=list(data.get("details", ()))
        )
    kind = "cancelled" if end.cancelled else "died"
    if end.out_of_memory:
        kind = FailureKind.OUT_OF_MEMORY.value
    hint = HINTS.get(kind, "The last lines of the builder's own output are above.")
    return BuildError(
        f"{spec.model}: the builder died: {end.cause}", hint=hint, kind=kind, details=end.stderr
    )
