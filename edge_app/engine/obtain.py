"""From a model to an engine that may run: found in the store, or built, verified and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_app.engine.build_spec import BuildSpec
from edge_app.engine.builder import WORKER_COMMAND, BuildResult, build
from edge_app.engine.durable import temporary_name
from edge_app.engine.errors import DamagedEngineError, RefusedEngineError
from edge_app.engine.events import BuildEvent, EventKind, EventSink
from edge_app.engine.identity import DeviceFacts, EngineIdentity, hash_model
from edge_app.engine.manifest import EngineState, Manifest
from edge_app.engine.options import BuildLimits, BuildOptions, CalibrationMethod, Precision, Profile
from edge_app.engine.store import EngineStore, StoredEngine
from edge_app.engine.verify import VerifyReport
from edge_app.files.lock import Holder


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Frames for INT8, preprocessed: a .npy file and the SHA-256 that `collect_calibration` returned."""

    path: Path
    frames_sha256: str
    method: CalibrationMethod = CalibrationMethod.ENTROPY

    @property
    def sha256(self) -> str:
        """What goes into an engine's identity: the frames, and how ranges are chosen from them."""
        return hashlib.sha256(f"{self.method.value} {self.frames_sha256}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """The engine that somebody wants.

    Attributes:
        name: Name of the model, as people call it.
        model: The ONNX file.
        precision: How its layers calculate.
        profile: Batch sizes and input size.
        options: The builder's options.
        calibration: Frames for INT8; None for those of the last time.
        calibration_settings: What the frames are asked for by, without a dash: those of the last time serve
            only if it was the same. None: whatever it was.
        serving: Kept in the manifest, for serving with this engine when the model has changed.
    """

    name: str
    model: Path
    precision: Precision
    profile: Profile
    options: BuildOptions = field(default_factory=BuildOptions)
    calibration: CalibrationSet | None = None
    calibration_settings: str | None = None
    serving: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObtainedEngine:
    """An engine that may run: `plan` is checked, and is what TensorRT shall deserialise.

    `reasons` says why it was built; it is empty if it was found.
    """

    engine: StoredEngine
    plan: bytes
    reasons: tuple[str, ...] = ()


Verifier = Callable[[StoredEngine, bytes], VerifyReport]
"""Runs a candidate, given as its plan, against the model; raises what its backend raises."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """With what engines are built.

    Attributes:
        store: Where they are kept.
        device: This machine.
        verify: Judges a new engine; None takes it unverified, which its manifest says.
        limits: Bounds of a build.
        emit: Told of everything that happens.
        cancelled: Asked often; a build is ended once it is true.
        free_device_bytes: Free memory of the GPU; None where it shares the system's.
        command: The building child process.
    """

    store: EngineStore
    device: DeviceFacts
    verify: Verifier | None
    limits: BuildLimits = field(default_factory=BuildLimits)
    emit: EventSink = lambda _: None
    cancelled: Callable[[], bool] = lambda: False
    free_device_bytes: int | None = None
    command: Sequence[str] = WORKER_COMMAND


def wanted_identity(store: EngineStore, request: EngineRequest, device: DeviceFacts) -> EngineIdentity:
    """Return the identity of the engine that `request` asks for on this machine.

    Raises:
        EngineError: The model cannot be read.
    """
    model_sha256 = hash_model(request.model)
    calibration = None
    if request.precision is Precision.INT8:
        chosen = request.calibration
        calibration = (
            chosen.sha256
            if chosen
            else store.last_calibration(request.name, model_sha256, request.calibration_settings)
        )
    return EngineIdentity(
        model_sha256=model_sha256,
        device=device,
        precision=request.precision,
        profile=request.profile,
        options=request.options,
        calibration_sha256=calibration,
    )


def obtain_engine(
    workshop: Workshop, request: EngineRequest, *, rebuild: bool = False, accept_refused: bool = False
) -> ObtainedEngine:
    """Return the engine that is asked for; build and verify it if the store has none.

    Another process that builds in the same store is waited for, and its engine taken if it fits.

    Args:
        workshop: With what to build.
        request: What is wanted.
        rebuild: Whether to build although there is one.
        accept_refused: Whether to take an engine into use that failed its verification.

    Raises:
        BuildError: The build failed.
        RefusedEngineError: The engine is too far from the model.
        LockedError: Waiting for another build was cancelled.
        EngineError: The model or the store cannot be used.
    """
    wanted = wanted_identity(workshop.store, request, workshop.device)
    reasons: list[str] = ["a new build was asked for"] if rebuild else []
    found = None if rebuild else _find(workshop, request, wanted, reasons)
    if found is not None:
        return found
    with workshop.store.lock(None, lambda holder: _tell_wait(workshop, holder), workshop.cancelled):
        # Whoever held the lock may have built it.
        found = None if rebuild else _find(workshop, request, wanted, reasons)
        if found is not None:
            return found
        reasons = list(dict.fromkeys(reasons)) or ["there is no engine of this model yet"]
        # Damaged files stay for people to look at.
        workshop.store.discard(workshop.store.leftovers(damaged=False))
        known = {} if rebuild else workshop.store.matching(wanted)
        refused = known.get(EngineState.REFUSED)
        if refused is not None and not accept_refused:
            raise _refusal(refused)
        candidate = refused or known.get(EngineState.CANDIDATE)
        if candidate is None:
            candidate = _build(workshop, request, wanted, reasons)
        return _judge(workshop, candidate, tuple(reasons), accept_refused=accept_refused)


def _find(
    workshop: Workshop, request: EngineRequest, wanted: EngineIdentity, reasons: list[str]
) -> ObtainedEngine | None:
    """Return the engine if the store has it, or add to `reasons` why not."""
    lookup = workshop.store.find(request.name, wanted)
    if lookup.engine is None:
        reasons.extend(lookup.reasons)
        return None
    try:
        return ObtainedEngine(lookup.engine, workshop.store.read(lookup.engine))
    except DamagedEngineError as error:
        reasons.append(error.message)
        return None


def _build(
    workshop: Workshop, request: EngineRequest, wanted: EngineIdentity, reasons: Sequence[str]
) -> StoredEngine:
    store = workshop.store
    for reason in reasons:
        workshop.emit(BuildEvent(EventKind.NOTE, f"building {request.name}: {reason}"))
    plan = temporary_name(store.directory / "plan")
    try:
        result = build(
            _specify(workshop, request, wanted, plan),
            workshop.limits,
            workshop.emit,
            free_device_bytes=workshop.free_device_bytes,
            cancelled=workshop.cancelled,
            command=workshop.command,
        )
        manifest = _describe(request, wanted, result, plan.read_bytes(), reasons)
        return store.put(plan, manifest)
    finally:
        plan.unlink(missing_ok=True)


def _describe(
    request: EngineRequest, wanted: EngineIdentity, result: BuildResult, plan: bytes, reasons: Sequence[str]
) -> Manifest:
    return Manifest(
        name=request.name,
        identity=wanted,
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        plan_bytes=len(plan),
        build_s=result.build_s,
        created_at=datetime.now(timezone.utc).isoformat(),
        serving=dict(request.serving),
        build={**asdict(result), "reasons": list(reasons), "notes": list(result.notes)},
    )


def _specify(workshop: Workshop, request: EngineRequest, wanted: EngineIdentity, plan: Path) -> BuildSpec:
    store = workshop.store
    model, calibration, quantized = request.model, None, None
    if wanted.calibration_sha256 is not None:
        names = request.name, wanted.model_sha256, wanted.calibration_sha256
        quantized = store.find_quantized(*names)
        if quantized is not None:
            model = quantized
        else:
            quantized = store.quantized_path(*names, request.calibration_settings or "any")
            calibration = request.calibration
    return BuildSpec(
        model=str(model.absolute()),
        plan=str(plan),
        precision=request.precision,
        profile=request.profile,
        options=request.options,
        timing_cache=str(store.timing_cache_path(request.name, wanted)),
        calibration=str(calibration.path.absolute()) if calibration else None,
        calibration_method=calibration.method if calibration else CalibrationMethod.ENTROPY,
        quantized=str(quantized) if quantized else None,
    )


def _judge(
    workshop: Workshop, candidate: StoredEngine, reasons: tuple[str, ...], *, accept_refused: bool
) -> ObtainedEngine:
    store = workshop.store
    plan = store.read(candidate)
    if workshop.verify is None:
        return ObtainedEngine(store.accept(candidate, {"verified": False}), plan, reasons)
    workshop.emit(BuildEvent(EventKind.PHASE, "verifying the engine"))
    report = workshop.verify(candidate, plan)
    figures = {"verified": True, **report.to_json()}
    if report.passed:
        return ObtainedEngine(store.accept(candidate, figures), plan, reasons)
    if accept_refused:
        workshop.emit(BuildEvent(EventKind.NOTE, f"taken into use although it failed:\n{report}"))
        return ObtainedEngine(store.accept(candidate, {**figures, "accepted": True}), plan, reasons)
    raise _refusal(store.refuse(candidate, figures))


def _refusal(engine: StoredEngine) -> RefusedEngineError:
    faults = "; ".join((engine.manifest.verification or {}).get("faults", ()))
    return RefusedEngineError(
        f"{engine.plan_path.name}: the engine is too far from its model: {faults or 'no figures'}",
        hint="Use a higher precision, calibrate with frames of your cameras or by another "
        "engine.calibration.method (edge-app build --rebuild), or take it openly: "
        "edge-app build --accept-refused.",
    )


def _tell_wait(workshop: Workshop, holder: Holder | None) -> None:
    who = holder or "another process"
    workshop.emit(BuildEvent(EventKind.PROGRESS, f"waiting for {who}, which builds in this store"))
