"""What manifests hold, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MIB = 1 << 20


def describe_verification(figures: Mapping[str, Any] | None) -> str:
    """Return a verification, as a manifest keeps it, in a line."""
    if figures is None:
        return "not yet"
    if not figures.get("verified"):
        return "no, verification is off"
    rate = figures.get("match_rate")
    drift = figures.get("confidence_drift", (0.0, 0.0))
    told = "no box on either side, raw outputs compared"
    if rate is not None:
        boxes = f"{rate:.2%} of {figures.get('counted')} boxes match"
        told = f"{boxes}, confidence drifts by {drift[0]:.3f} at most"
    if figures.get("passed"):
        return told
    faults = "; ".join(figures.get("faults", ()))
    return f"FAILED ({faults}){', taken into use all the same' if figures.get('accepted') else ''}; {told}"
