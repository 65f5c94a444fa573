"""Cameras that come and go, also where their last change failed half way."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge_app.app.fleet import Fleet, enabled_cameras
from edge_app.config.models import AppConfig
from edge_app.ops.node import NodeWatch
from edge_app.pipeline.statistics import Statistics

CONFIG = AppConfig.model_validate(
    {
        "inference": {"backend": "onnxruntime"},
        "cameras": {name: {"uri": "scene://street?size=160x96&fps=5"} for name in ("yard", "door")},
    }
)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    pytest.importorskip("cv2")
    names = enabled_cameras(CONFIG)
    observer = SimpleNamespace(camera_changed=lambda status: None)
    watch = NodeWatch(names, cast("Any", observer), lambda state, reason: None)
    made = Fleet(CONFIG, {}, Statistics(names), watch)
    made.group.start()
    yield made
    made.group.stop(2.0)


def nobody() -> None:
    """Nobody is told."""


@pytest.mark.parametrize("name", ["door", "gate"])
def test_a_camera_that_could_not_be_put_can_be_put_again_or_removed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    section = CONFIG.cameras["door"]

    def put(tell: Any = nobody) -> None:
        fleet.put(fleet.make(name, section, None), None, tell)

    def fail() -> None:
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError):
        put(fail)
    assert name not in fleet.group.statuses()
    put()
    assert name in fleet.group.statuses()
    with pytest.raises(RuntimeError):
        put(fail)
    fleet.remove(name, nobody)
    fleet.remove(name, nobody)
    assert name not in fleet.group.statuses()
    assert name not in fleet.models
    put()
    assert list(fleet.by_model()[None])[-1] == name
