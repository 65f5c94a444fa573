"""What commands do to the running daemon."""

from __future__ import annotations

from collections.abc import Callable

from edge_app.app.jpeg import encode_jpeg
from edge_app.app.reload import ReloadResult
from edge_app.capture.cameras import CameraGroup
from edge_app.capture.snapshot import SnapshotTap
from edge_app.config.models import CommandsSection
from edge_app.errors import EndOfStream
from edge_app.messages import CameraStatus
from edge_app.publish.commands.command import (
    CommandRefusedError,
    DisableCamera,
    EnableCamera,
    Refusal,
    Reload,
    TakeSnapshot,
)
from edge_app.publish.commands.registry import CommandRegistry, Outcome, Snapshot

FRAME_WAIT_S = 3.0
"""A camera that brings no frame for so long has no snapshot."""


def register_commands(
    registry: CommandRegistry,
    cameras: CameraGroup,
    tap: SnapshotTap,
    section: CommandsSection,
    reload: Callable[[], ReloadResult],
) -> None:
    """Add the handlers of everything that the daemon supports."""
    handlers = _Handlers(cameras, tap, section)
    registry.add(Reload, lambda _: _outcome_of(reload()))
    registry.add(EnableCamera, handlers.enable)
    registry.add(DisableCamera, handlers.disable)
    registry.add(TakeSnapshot, handlers.snapshot)


def _outcome_of(result: ReloadResult) -> Outcome:
    if result.problem is not None:
        raise CommandRefusedError(Refusal.FAILED, str(result).replace("\n", "; "))
    return Outcome(str(result))


class _Handlers:
    def __init__(self, cameras: CameraGroup, tap: SnapshotTap, section: CommandsSection) -> None:
        self._cameras, self._tap, self._section = cameras, tap, section

    def enable(self, command: EnableCamera) -> Outcome:
        self._switch(command.camera, enabled=True)
        return Outcome(f"camera {command.camera} is connected to; its status tells how that goes")

    def disable(self, command: DisableCamera) -> Outcome:
        self._switch(command.camera, enabled=False)
        return Outcome(f"camera {command.camera} is let go, until it is enabled or the daemon is restarted")

    def snapshot(self, command: TakeSnapshot) -> Outcome:
        self._require(command.camera)
        shot = self._tap.take(command.camera, FRAME_WAIT_S)
        if shot is None:
            status = self._require(command.camera)
            why = status.state.value + (f", {status.reason}" if status.reason else "")
            words = f"camera {command.camera} brought no frame within {FRAME_WAIT_S:g} s: it is {why}"
            raise CommandRefusedError(Refusal.NOT_AVAILABLE, words)
        max_kib = self._section.snapshot_max_kib
        encoded = encode_jpeg(shot, command.max_edge_px, command.quality, max_kib << 10)
        if encoded is None:
            bound = f"{max_kib} KiB (mqtt.commands.snapshot_max_kib)"
            words = f"the picture is larger than {bound}; ask for a smaller one"
            raise CommandRefusedError(Refusal.TOO_LARGE, words)
        snapshot = Snapshot(shot.info, *encoded)
        return Outcome(f"frame {shot.info.frame_id} of camera {command.camera}", snapshot)

    def _switch(self, camera: str, *, enabled: bool) -> None:
        try:
            self._cameras.switch(camera, enabled=enabled)
        except KeyError:
            raise self._unknown(camera) from None
        except EndOfStream:
            words = f"camera {camera} has ended: its file was played"
            raise CommandRefusedError(Refusal.NOT_AVAILABLE, words) from None

    def _require(self, camera: str) -> CameraStatus:
        """Return how a camera does, which a reload may let go of at any moment."""
        status = self._cameras.statuses().get(camera)
        if status is None:
            raise self._unknown(camera)
        return status

    def _unknown(self, camera: str) -> CommandRefusedError:
        found = f"the configuration enables no camera {camera!r}"
        words = f"{found}; there are {', '.join(self._cameras.statuses())}"
        return CommandRefusedError(Refusal.UNKNOWN_CAMERA, words)
