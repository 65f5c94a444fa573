"""What the demo found, for a person and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_app.evaluate.average_precision import ApResult


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """The demo's result.

    Attributes:
        cameras: How many.
        frames: Captured by all cameras.
        published: Detections messages that arrived at the subscriber.
        fps: Messages a second, all cameras together.
        latency_ms: p50 and p95 from capture to arrival; None if nothing arrived.
        dropped: Frames and messages that went no further, for whatever reason.
        dropped_by_reason: The same, by reason.
        gaps: Messages that were published and did not arrive.
        map50: Mean average precision at IoU 0.5 of what was published; None if there was nothing to find.
        recall50: Share of the objects that was found.
        judged: Frames that were compared with the truth.
        objects: Objects published, by label, over all frames.
        backend: What ran the model.
    """

    cameras: int
    frames: int
    published: int
    fps: float
    latency_ms: Mapping[str, float] | None
    dropped: int
    dropped_by_reason: Mapping[str, int]
    gaps: int
    map50: float | None
    recall50: float | None
    judged: int
    objects: Mapping[str, int]
    backend: str | None

    @staticmethod
    def of(seen: Mapping[str, Any], accuracy: ApResult, *, cameras: int) -> DemoSummary:
        """Put together what the subscriber saw and what the scenes know."""
        return DemoSummary(
            cameras=cameras,
            frames=seen["captured"],
            published=seen["messages"],
            fps=seen["fps"],
            latency_ms=seen["latency_ms"],
            dropped=seen["dropped"],
            dropped_by_reason=seen["dropped_by_reason"],
            gaps=seen["gaps"],
            map50=accuracy.map50,
            recall50=accuracy.recall50,
            judged=accuracy.images,
            objects=seen["objects"],
            backend=seen["backend"],
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as values that JSON has."""
        return {
            "cameras": self.cameras,
            "frames": self.frames,
            "published": self.published,
            "fps": self.fps,
            "latency_ms": None if self.latency_ms is None else dict(self.latency_ms),
            "dropped": self.dropped,
            "dropped_by_reason": dict(self.dropped_by_reason),
            "map50": None if self.map50 is None else round(self.map50, 4),
            "backend": self.backend,
        }


def render_summary(found: DemoSummary) -> str:
    """Return the summary as lines for a person."""
    if not found.published:
        return "Nothing was published."
    latency = found.latency_ms or {"p50": 0.0, "p95": 0.0}
    reasons = ", ".join(f"{count} {reason}" for reason, count in found.dropped_by_reason.items() if count)
    objects = ", ".join(f"{count} {label}" for label, count in found.objects.items()) or "none"
    quality = "no object was to be found"
    if found.map50 is not None and found.recall50 is not None:
        quality = (
            f"mAP50 {found.map50:.3f}, recall {found.recall50:.3f}, over {found.judged} frames "
            "against what the rendered scenes know to be true"
        )
    cameras = f"{found.cameras} camera{'s' if found.cameras > 1 else ''}"
    frames = f"{found.frames} captured, {found.published} published, {found.fps:.1f} a second"
    return "\n".join(
        [
            "",
            f"frames    {frames} from {cameras}",
            f"latency   p50 {latency['p50']:.0f} ms, p95 {latency['p95']:.0f} ms from capture to subscriber",
            f"dropped   {found.dropped}{f' ({reasons})' if reasons else ''}; {found.gaps} lost on the way",
            f"objects   {objects}",
            f"accuracy  {quality}",
            f"backend   {found.backend}: there is no GPU in this demo",
        ]
    )
