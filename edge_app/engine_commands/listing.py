"""What `edge-app engines` does."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge_app.app.engines import engine_directory
from edge_app.engine.device import this_device
from edge_app.engine.housekeeping import judge_engines, prune
from edge_app.engine.store import EngineStore, StoredEngine
from edge_app.engine_commands.settings import read_settings
from edge_app.engine_commands.words import MIB, describe_verification


def run_listing(
    config_path: Path | None, *, directory: Path | None, explain: bool, remove_others: bool
) -> None:
    """List the engines of a store.

    Args:
        config_path: Its engine.directory counts; None: the default.
        directory: Overrides it.
        explain: Say of each whether it serves on this machine, and why not.
        remove_others: Remove what cannot serve on this machine, and what interrupted builds left.

    Raises:
        ConfigError, EngineError: The store cannot be used.
        BackendError: There is no GPU to compare with.
    """
    config = read_settings(config_path, directory=directory)
    place = engine_directory(config.engine)
    console = Console(highlight=False, markup=False)
    if not place.is_dir():
        console.print(f"there are no engines: {place} does not exist", soft_wrap=True)
        return
    store = EngineStore(place)
    if remove_others:
        for removal in prune(store, this_device(config.inference.device)):
            console.print(f"removed {removal.path.name}: {removal.reason}", soft_wrap=True)
    if explain:
        _explain(store, config.inference.device, console)
    else:
        _list(store, console)


def _explain(store: EngineStore, ordinal: int, console: Console) -> None:
    verdicts = judge_engines(store, this_device(ordinal))
    for verdict in verdicts:
        console.print(verdict.engine.plan_path.name, soft_wrap=True)
        for reason in verdict.reasons or ("serves on this machine",):
            console.print(f"  {reason}", soft_wrap=True)
        console.print(
            f"  verified: {describe_verification(verdict.engine.manifest.verification)}", soft_wrap=True
        )
    if not verdicts:
        console.print(f"there are no engines in {store.directory}", soft_wrap=True)


def _list(store: EngineStore, console: Console) -> None:
    engines = store.engines()
    if not engines:
        console.print(f"there are no engines in {store.directory}", soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("model", "precision", "batch", "level", "state", "MiB", "built in s", "when", "TensorRT"):
        table.add_column(name, no_wrap=True)
    for engine in engines:
        table.add_row(*_row(engine))
    console.print(f"{store.directory}", soft_wrap=True)
    console.print(table)


def _row(engine: StoredEngine) -> tuple[str, ...]:
    manifest = engine.manifest
    identity = manifest.identity
    return (
        manifest.name,
        identity.precision.value,
        f"{identity.profile.min_batch}-{identity.profile.max_batch}",
        str(identity.options.optimization_level),
        manifest.state.value,
        f"{manifest.plan_bytes / MIB:.1f}",
        f"{manifest.build_s:.1f}",
        manifest.created_at[:16],
        identity.device.tensorrt,
    )
