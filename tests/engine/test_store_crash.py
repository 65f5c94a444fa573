"""SIGKILL at every step of taking a new engine into the store: afterwards the old one or the new one."""

import hashlib
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import edge_app.engine
from edge_app.engine.durable import temporary_name
from edge_app.engine.identity import DeviceFacts, EngineIdentity
from edge_app.engine.manifest import Manifest
from edge_app.engine.options import Precision, Profile
from edge_app.engine.store import EngineStore, StoredEngine

CODE = str(Path(edge_app.engine.__file__).parent)
OLD, NEW = b"old plan", b"new plan"
MOST_STEPS = 5000


def manifest_of(identity: EngineIdentity, plan: bytes, day: int) -> Manifest:
    sha256 = hashlib.sha256(plan).hexdigest()
    return Manifest("demo", identity, sha256, len(plan), 1.0, f"2026-01-{day:02}T00:00:00+00:00")


def take_in(store: EngineStore, identity: EngineIdentity, plan: bytes, day: int) -> StoredEngine:
    with store.lock():
        store.discard(store.leftovers(damaged=False))
        path = temporary_name(store.directory / "plan")
        path.write_bytes(plan)
        candidate = store.put(path, manifest_of(identity, plan, day))
        return store.accept(candidate, {"verified": True})


def killed_at_step(step: int, work: Callable[[], object]) -> bool:
    """Run `work` in a child that is killed at the given line of our code; return whether it got so far."""
    with warnings.catch_warnings():
        # Python warns of threads that other tests left; the child runs our own code only.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            sys.settrace(_killer(step))
            work()
        except BaseException:  # noqa: BLE001 - a forked test process must never return into pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _killer(step: int) -> Callable[[FrameType, str, Any], Any]:
    left = step

    def on_line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(CODE):
            return None
        left -= event == "line"
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    return on_line


@pytest.mark.parametrize("same_identity", [False, True], ids=["new model", "built again"])
def test_a_kill_at_any_step_leaves_the_old_engine_or_the_new_one(
    tmp_path: Path, device: DeviceFacts, same_identity: bool
) -> None:
    old = EngineIdentity("a" * 64, device, Precision.FP16, Profile(64, 64))
    new = old if same_identity else replace(old, model_sha256="b" * 64)
    seen: set[bytes] = set()
    for step in range(MOST_STEPS):
        store = EngineStore(tmp_path / f"engines{step}")
        take_in(store, old, OLD, 1)
        killed = killed_at_step(step, lambda store=store: take_in(store, new, NEW, 2))  # type: ignore[misc]
        found = store.find("demo", new).engine or store.last_good("demo", new)
        assert found is not None, f"no engine after a kill at step {step}"
        plan = store.read(found)
        assert plan in {OLD, NEW}, f"a torn engine after a kill at step {step}"
        assert (plan == NEW) >= (found.manifest.identity == new and not same_identity)
        seen.add(plan)
        assert store.read(take_in(store, new, NEW, 3)) == NEW, f"no way on after a kill at step {step}"
        assert not list(store.directory.glob("*.damaged"))
        assert store.leftovers() == []
        if not killed:
            break
    else:
        pytest.fail(f"not done after {MOST_STEPS} steps")
    assert seen == {OLD, NEW}
    assert step > 50
