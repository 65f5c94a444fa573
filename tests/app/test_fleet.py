"""Cameras that come and go, also where their last change failed half way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge_app.app.fleet import Fleet, enabled_cameras
from edge_app.capture.transport import OPTIONS_VARIABLE
from edge_app.config.models import AppConfig
from edge_app.errors import ConfigError
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


RTSP = "rtsp://127.0.0.1:1/{}"


def config_of(**transports: str) -> AppConfig:
    cameras = {name: {"uri": RTSP.format(name), "transport": one} for name, one in transports.items()}
    return AppConfig.model_validate({"inference": {"backend": "onnxruntime"}, "cameras": cameras})


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Fleet]:
    """Make a fleet, by camera and transport, where OpenCV has no GStreamer."""
    pytest.importorskip("cv2")
    monkeypatch.setattr("edge_app.capture.factory.opencv_has_gstreamer", lambda: False)
    monkeypatch.setenv(OPTIONS_VARIABLE, "")  # put back at the end, and not there meanwhile
    monkeypatch.delenv(OPTIONS_VARIABLE)

    def made(**transports: str) -> Fleet:
        config = config_of(**transports)
        observer = SimpleNamespace(camera_changed=lambda status: None)
        watch = NodeWatch(transports, cast("Any", observer), lambda state, reason: None)
        return Fleet(config, {}, Statistics(transports), watch)

    return made


def test_cameras_of_both_transports_are_refused_by_name(start: Callable[..., Fleet]) -> None:
    words = r"RTSP cameras use both tcp \(yard\) and udp \(door, gate\)"
    with pytest.raises(ConfigError, match=words):
        start(yard="tcp", door="udp", gate="udp")
    assert OPTIONS_VARIABLE not in os.environ, "nothing was claimed"


def test_the_transport_changes_with_the_last_camera_that_wants_the_other(start: Callable[..., Fleet]) -> None:
    fleet = start(yard="tcp", door="tcp")
    assert "tcp" in os.environ[OPTIONS_VARIABLE]
    wanted = config_of(yard="udp", door="udp")
    yard, door = (fleet.make(name, section, None) for name, section in wanted.cameras.items())
    assert "tcp" in os.environ[OPTIONS_VARIABLE], "what is made may not be used"
    with pytest.raises(ConfigError, match=r"both tcp \(door\) and udp \(yard\)"):
        fleet.transport_with([yard], [])
    assert fleet.transport_with([yard], ["door"]) == "udp"
    assert fleet.transport_with([yard, door], []) == "udp"
    assert fleet.over_other("udp") == ["yard", "door"]
    fleet.change_transport("udp")
    assert "udp" in os.environ[OPTIONS_VARIABLE]
    assert not fleet.group.statuses(), "no camera may open another connection over tcp"
    for camera in (yard, door):
        fleet.put(camera, None, nobody)
    assert fleet.over_other("udp") == []
    assert list(fleet.group.statuses()) == ["yard", "door"]


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
