"""Where sinks ask how the daemon does."""

from __future__ import annotations

from typing import Protocol

from edge_app.publish.payloads import HealthSnapshot


class Observed(Protocol):
    """What sinks tell of the daemon. Called from their threads; must return at once."""

    def dropped_frames(self, camera_id: str) -> int:
        """Return how many frames and messages of a camera were dropped since the daemon's start."""

    def health(self) -> HealthSnapshot:
        """Return how the daemon does now."""
