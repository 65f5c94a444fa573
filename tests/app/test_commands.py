"""What commands do to the daemon while a reload takes its cameras away; the rest is tested in e2e."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from edge_app.app.commands import register_commands
from edge_app.config.models import CommandsSection
from edge_app.messages import CameraState, CameraStatus
from edge_app.publish.commands.command import (
    Command,
    CommandRefusedError,
    DisableCamera,
    EnableCamera,
    Refusal,
    TakeSnapshot,
)
from edge_app.publish.commands.registry import CommandRegistry


class Cameras:
    """Two cameras, of which `gate` is let go as soon as somebody has seen that it is there."""

    def __init__(self) -> None:
        self._there = {name: CameraStatus(name, CameraState.STREAMING) for name in ("yard", "gate")}

    def statuses(self) -> Mapping[str, CameraStatus]:
        seen = dict(self._there)
        self._there.pop("gate", None)
        return seen

    def switch(self, camera_id: str, *, enabled: bool) -> None:
        self.statuses()
        self._there[camera_id]


class Tap:
    def take(self, camera_id: str, timeout_s: float) -> None:
        """No frame comes."""


@pytest.mark.parametrize("kind", [EnableCamera, DisableCamera, TakeSnapshot])
def test_a_camera_that_goes_while_it_is_commanded_is_unknown(kind: type[Command]) -> None:
    registry = CommandRegistry()
    register_commands(
        registry, cast("Any", Cameras()), cast("Any", Tap()), CommandsSection(), cast("Any", None)
    )
    words = "the configuration enables no camera 'gate'; there are yard"
    with pytest.raises(CommandRefusedError, match=words) as caught:
        registry.carry_out(kind.model_validate({"camera": "gate"}))
    assert caught.value.refusal is Refusal.UNKNOWN_CAMERA
