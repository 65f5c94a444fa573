"""Where engines are kept: a raw plan that trtexec can load, and a manifest beside it.

The commit point of a new engine is the atomic replacement of its manifest, which follows the plan. The name
of both holds the identity and the plan's hash, so no engine is ever overwritten by another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_app.engine.durable import TEMPORARY_PREFIX, move_durably, write_atomically
from edge_app.engine.errors import DamagedEngineError, EngineError
from edge_app.engine.identity import RECIPE_VERSION, EngineIdentity, differences
from edge_app.engine.manifest import STEM, EngineState, Manifest, read_manifest, readable
from edge_app.engine.ownership import check_ownership, refuse_url
from edge_app.files.lock import Holder, hold
from edge_app.files.replacing import sync_directory

logger = logging.getLogger(__name__)

PLAN_SUFFIX = ".engine"
DAMAGED_SUFFIX = ".damaged"


@dataclass(frozen=True, slots=True)
class StoredEngine:
    """An engine of the store: its manifest and where its plan lies."""

    manifest: Manifest
    plan_path: Path

    @property
    def manifest_path(self) -> Path:
        """The JSON file beside the plan."""
        return self.plan_path.with_suffix(".json")


@dataclass(frozen=True, slots=True)
class Lookup:
    """The engine that fits, or in words why each of the others of this model does not."""

    engine: StoredEngine | None
    reasons: tuple[str, ...]


class EngineStore:
    """Engines in one directory, which nobody else may write to.

    Args:
        directory: Where they lie; created, for this user only, if absent.

    Raises:
        UnsafeStoreError: It is a URL, or others may write to it.
        EngineError: It cannot be created.
    """

    def __init__(self, directory: Path | str) -> None:
        refuse_url(directory)
        self.directory = Path(directory).expanduser().absolute()
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise EngineError(
                f"{self.directory}: the engine directory cannot be created: {error.strerror}",
                hint="Choose another directory, or create it for the user that runs edge-app.",
            ) from None
        check_ownership(self.directory)

    def lock(
        self,
        timeout_s: float | None = None,
        on_wait: Callable[[Holder | None], None] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> AbstractContextManager[None]:
        """Hold the store for building or pruning; see `files.lock.hold`."""
        return hold(self.directory / ".lock", timeout_s, on_wait, cancelled)

    def engines(self) -> list[StoredEngine]:
        """Return every engine with a sound manifest, newest first; others are set aside with a warning."""
        found = []
        for path in sorted(self.directory.glob("*.json")):
            engine = self._load(path) if STEM.fullmatch(path.stem) else None
            if engine is not None:
                found.append(engine)
        return sorted(found, key=lambda engine: engine.manifest.created_at, reverse=True)

    def find(self, name: str, wanted: EngineIdentity) -> Lookup:
        """Return the newest good engine that is `wanted`, or why there is none."""
        reasons: list[str] = []
        for engine in self.engines():
            found = differences(engine.manifest.identity, wanted)
            if not found and engine.manifest.state is EngineState.GOOD:
                return Lookup(engine, ())
            if engine.manifest.name == name or not found:
                what = found or [f"it is {engine.manifest.state.value}, not verified as good"]
                reasons.append(f"{engine.plan_path.name}: {'; '.join(what)}")
        return Lookup(None, tuple(reasons))

    def matching(self, wanted: EngineIdentity) -> dict[EngineState, StoredEngine]:
        """Return the newest engine of each state that is `wanted`."""
        found: dict[EngineState, StoredEngine] = {}
        for engine in self.engines():
            if not differences(engine.manifest.identity, wanted):
                found.setdefault(engine.manifest.state, engine)
        return found

    def quantized_path(
        self, name: str, model_sha256: str, calibration_sha256: str, settings: str = "any"
    ) -> Path:
        """Return where the quantised graph of a model lies; it is kept for builds without the frames.

        `settings` stands for what was asked for when the frames were collected, without a dash.
        """
        return self.directory / (
            f"{readable(name)}-int8-{model_sha256[:12]}-{settings}-{calibration_sha256}-r{RECIPE_VERSION}.onnx"
        )

    def find_quantized(self, name: str, model_sha256: str, calibration_sha256: str) -> Path | None:
        """Return the quantised graph of a model and a calibration, whatever asked for it, if there is one."""
        pattern = self.quantized_path(name, model_sha256, calibration_sha256, "*").name
        return next(self.directory.glob(pattern), None)

    def last_calibration(self, name: str, model_sha256: str, settings: str | None = None) -> str | None:
        """Return the calibration hash of the model's newest quantised graph; None if there is none.

        Only graphs made with `settings` count; with any, if that is None.
        """
        pattern = self.quantized_path(name, model_sha256, "*", settings or "*").name
        paths = sorted(self.directory.glob(pattern), key=lambda path: path.stat().st_mtime_ns)
        return paths[-1].stem.split("-")[-2] if paths else None

    def timing_cache_path(self, name: str, identity: EngineIdentity) -> Path:
        """Return where the timings of a model in one precision, on one kind of device, are kept.

        TensorRT 8.6 may refuse those of other graphs, and what is refused is overwritten. By the model's name
        and not its hash, as newer versions find much of them in a model that was trained anew.
        """
        device = identity.device
        sm = device.compute_capability.replace(".", "")
        where = f"{readable(device.gpu)}-sm{sm}-tensorrt{readable(device.tensorrt)}"
        return self.directory / f"{readable(name)}-{identity.precision.value}-{where}.timing"

    def last_good(self, name: str, wanted: EngineIdentity) -> StoredEngine | None:
        """Return the newest good engine of the model that this machine can run, whatever else differs."""
        for engine in self.engines():
            here = replace(engine.manifest.identity, device=wanted.device)
            runs_here = not differences(engine.manifest.identity, here)
            if runs_here and engine.manifest.state is EngineState.GOOD and engine.manifest.name == name:
                return engine
        return None

    def read(self, engine: StoredEngine) -> bytes:
        """Return the plan, checked against its manifest: what may be given to TensorRT.

        Raises:
            UnsafeStoreError: Others may write to it.
            DamagedEngineError: It is not the plan that was built; it was set aside.
        """
        check_ownership(self.directory)
        try:
            check_ownership(engine.plan_path)
            plan = engine.plan_path.read_bytes()
        except FileNotFoundError:
            plan = b""
        sha256 = hashlib.sha256(plan).hexdigest()
        if sha256 != engine.manifest.plan_sha256:
            found = f"{len(plan)} bytes, SHA-256 {sha256[:12]}" if plan else "nothing"
            error = DamagedEngineError(
                f"{engine.plan_path}: not the plan that was built: expected "
                f"{engine.manifest.plan_bytes} bytes, SHA-256 {engine.manifest.plan_sha256[:12]}, "
                f"found {found}",
                hint="It was set aside; build the engine again.",
            )
            self._set_aside(engine.plan_path, error)
            self._set_aside(engine.manifest_path, error)
            raise error
        return plan

    def put(self, plan: Path, manifest: Manifest) -> StoredEngine:
        """Move a built plan, a file in this directory, into the store, as a candidate or as its state says.

        Call it with the lock held. An engine of the same identity with the same plan is left as it is.
        """
        target = self.directory / f"{manifest.stem}{PLAN_SUFFIX}"
        engine = StoredEngine(manifest, target)
        present = self._load(engine.manifest_path) if target.exists() else None
        if present is not None:
            plan.unlink()
            return present
        move_durably(plan, target)
        write_atomically(engine.manifest_path, manifest.to_bytes())
        return engine

    def accept(self, engine: StoredEngine, verification: Mapping[str, Any]) -> StoredEngine:
        """Take a candidate into use, and drop the engines that it succeeds. Call it with the lock held."""
        accepted = self._restate(engine, EngineState.GOOD, verification)
        for other in self.engines():
            if other.plan_path != engine.plan_path and _succeeds(accepted.manifest, other.manifest):
                self.remove(other)
        return accepted

    def refuse(self, engine: StoredEngine, verification: Mapping[str, Any]) -> StoredEngine:
        """Keep a candidate for people to look at, and never use it. Call it with the lock held."""
        return self._restate(engine, EngineState.REFUSED, verification)

    def remove(self, engine: StoredEngine) -> None:
        """Delete an engine: its manifest first, so that none is found without its plan."""
        engine.manifest_path.unlink(missing_ok=True)
        sync_directory(self.directory)
        engine.plan_path.unlink(missing_ok=True)
        logger.info("removed engine %s", engine.plan_path.name)

    def leftovers(self, *, damaged: bool = True) -> list[Path]:
        """Return what no engine needs: files of interrupted builds, plans without a manifest, damaged files.

        Files that the store did not name are none of its business. Right only with the lock held: a build in
        progress has such files too.
        """
        return sorted(
            path
            for path in self.directory.iterdir()
            if path.name.startswith(TEMPORARY_PREFIX)
            or (damaged and path.suffix == DAMAGED_SUFFIX and STEM.fullmatch(Path(path.stem).stem))
            or (_is_plan(path) and not path.with_suffix(".json").exists())
        )

    def discard(self, leftovers: Iterable[Path]) -> None:
        """Delete leftovers. Call it with the lock held."""
        for path in leftovers:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _load(self, manifest_path: Path) -> StoredEngine | None:
        try:
            check_ownership(manifest_path)
            return StoredEngine(read_manifest(manifest_path), manifest_path.with_suffix(PLAN_SUFFIX))
        except DamagedEngineError as error:
            self._set_aside(manifest_path, error)
        except FileNotFoundError:
            logger.debug("%s was pruned meanwhile", manifest_path)
        return None

    def _restate(
        self, engine: StoredEngine, state: EngineState, verification: Mapping[str, Any]
    ) -> StoredEngine:
        manifest = replace(engine.manifest, state=state, verification=dict(verification))
        write_atomically(engine.manifest_path, manifest.to_bytes())
        return StoredEngine(manifest, engine.plan_path)

    def _set_aside(self, path: Path, reason: Exception) -> None:
        with contextlib.suppress(FileNotFoundError):
            path.replace(path.with_name(path.name + DAMAGED_SUFFIX))
            logger.warning("%s (set aside as %s%s)", reason, path.name, DAMAGED_SUFFIX)


def _is_plan(path: Path) -> bool:
    return path.suffix == PLAN_SUFFIX and STEM.fullmatch(path.stem) is not None


def _succeeds(new: Manifest, old: Manifest) -> bool:
    """Tell whether `new` replaces `old`: the same model in the same precision, profile and options."""
    return (
        new.name == old.name
        and new.identity.precision == old.identity.precision
        and new.identity.profile == old.identity.profile
        and new.identity.options == old.identity.options
    )
