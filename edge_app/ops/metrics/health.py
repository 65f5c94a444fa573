"""What /healthz and /readyz say: whether a restart would help, and whether the work is being done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_app.messages import CameraState, NodeState

SPARE_S = 1.0
"""What a frame waits beyond its model's deadline before it is missed: its batch begins a little later."""


@dataclass(frozen=True, slots=True)
class Health:
    """How the daemon does at a moment.

    Attributes:
        state: What the node says of itself, and in `reason` why.
        cameras: The state of every camera.
        processed: Frames that became detections since the start.
        ended_parts: Threads that have ended although they never should.
        standstill_s: By model, for how long frames have waited while none was processed, in seconds.
        deadlines_s: By model, how long that may be; of the same models.
        broker_connected: Whether there is a broker.
    """

    state: NodeState
    reason: str | None = None
    cameras: Mapping[str, CameraState] = field(default_factory=dict)
    processed: int = 0
    ended_parts: Sequence[str] = ()
    standstill_s: Mapping[str, float] = field(default_factory=dict)
    deadlines_s: Mapping[str, float] = field(default_factory=dict)
    broker_connected: bool = False

    def failures(self) -> list[str]:
        """Return what a restart would mend; empty while an engine is built, and without cameras or broker.

        Those are waited for, which a restart would only begin anew.
        """
        if self.state is NodeState.STOPPING:
            return []
        found = [f"{part} has ended" for part in self.ended_parts]
        found += [
            f"model {model}: frames have waited for {waited_s:.0f} s while none was processed"
            for model, waited_s in self.standstill_s.items()
            if waited_s >= self.deadlines_s[model] + SPARE_S
        ]
        return found

    def obstacles(self) -> list[str]:
        """Return why the work is not being done now: from a camera's frames to detections.

        A broker that is away is no obstacle: what must arrive waits for it.
        """
        if self.state in (NodeState.STARTING, NodeState.STOPPING):
            return [": ".join(filter(None, (self.state.value, self.reason)))]
        found = self.failures()
        if CameraState.STREAMING not in self.cameras.values():
            found.append("no camera streams")
        if not self.processed:
            found.append("no frame was processed yet")
        return found

    def document(self, reasons: Sequence[str]) -> dict[str, Any]:
        """Return what is answered, as JSON: the reasons first, then what else is known."""
        return {
            "ok": not reasons,
            "reasons": list(reasons),
            "node": self.state.value,
            "node_reason": self.reason,
            "cameras": {name: state.value for name, state in self.cameras.items()},
            "frames_processed": self.processed,
            "broker_connected": self.broker_connected,
        }
