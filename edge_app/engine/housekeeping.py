"""What lies in a store, in words, and what of it can go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edge_app.engine.identity import RECIPE_VERSION, DeviceFacts, differences
from edge_app.engine.manifest import EngineState
from edge_app.engine.store import EngineStore, StoredEngine

QUANTIZED_RECIPE = re.compile(r"-int8-[0-9a-f]{12}-(?:[^-]+-)?[0-9a-f]{64}-r(\d+)\.onnx$")


@dataclass(frozen=True, slots=True)
class Verdict:
    """An engine, and why it does not serve here; no reason if it can."""

    engine: StoredEngine
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Removal:
    """A file that goes, and why. `engine` is set where it is the plan of one."""

    path: Path
    reason: str
    engine: StoredEngine | None = None


def judge_engines(store: EngineStore, device: DeviceFacts) -> list[Verdict]:
    """Return every engine, newest first, with what keeps this machine from running it."""
    return [Verdict(engine, tuple(_reasons(engine, device))) for engine in store.engines()]


def find_removable(store: EngineStore, device: DeviceFacts) -> list[Removal]:
    """Return what can go: engines that cannot serve here, what interrupted builds left, damaged files.

    Right only with the lock held.
    """
    found = [
        Removal(verdict.engine.plan_path, "; ".join(verdict.reasons), verdict.engine)
        for verdict in judge_engines(store, device)
        if verdict.reasons
    ]
    found += [Removal(path, "an interrupted build left it, or it is damaged") for path in store.leftovers()]
    for path in sorted(store.directory.glob("*.onnx")):
        recipe = QUANTIZED_RECIPE.search(path.name)
        if recipe is not None and int(recipe[1]) != RECIPE_VERSION:
            found.append(Removal(path, f"quantised by recipe {recipe[1]}, this is recipe {RECIPE_VERSION}"))
    return found


def prune(store: EngineStore, device: DeviceFacts) -> list[Removal]:
    """Remove what `find_removable` finds, and return it. Waits for a build in progress."""
    with store.lock():
        removals = find_removable(store, device)
        for removal in removals:
            if removal.engine is not None:
                store.remove(removal.engine)
            else:
                store.discard([removal.path])
    return removals


def _reasons(engine: StoredEngine, device: DeviceFacts) -> Iterator[str]:
    manifest = engine.manifest
    yield from differences(
        manifest.identity, replace(manifest.identity, device=device, recipe=RECIPE_VERSION)
    )
    if manifest.state is EngineState.REFUSED:
        faults = "; ".join((manifest.verification or {}).get("faults", ()))
        yield f"refused: {faults or 'no figures'}"
    elif manifest.state is EngineState.CANDIDATE:
        yield "not verified yet"
    if not engine.plan_path.exists():
        yield "its plan is missing"
