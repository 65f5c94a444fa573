"""What was found, for people and for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from edge_app import __version__
from edge_app.doctor.result import Status
from edge_app.doctor.runner import Finding, count

WIDTH = 110
_NAME_WIDTH = 20


def as_text(findings: Sequence[Finding]) -> str:
    """Return the findings as lines, what is to be done below each, and a last line that sums up."""
    lines: list[str] = []
    for finding in findings:
        status, name = finding.result.status.value, finding.name
        lines += _wrapped(f"{status:<9}{name:<{_NAME_WIDTH}} ", finding.result.found)
        if finding.result.fix is not None:
            lines += _wrapped(" " * (9 + _NAME_WIDTH + 1) + "-> ", finding.result.fix)
    bad, worth = count(findings, Status.FAILED), count(findings, Status.WARNING)
    summary = f"{bad} failed, {worth} warnings, {count(findings, Status.OK)} ok"
    skips = count(findings, Status.SKIPPED)
    return "\n".join([*lines, "", f"{summary}, {skips} skipped"])


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as a JSON object; keys are only ever added to it."""
    return {
        "version": __version__,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "failed": count(findings, Status.FAILED),
        "warnings": count(findings, Status.WARNING),
        "checks": [
            {
                "name": finding.name,
                "status": finding.result.status.value,
                "found": finding.result.found,
                "fix": finding.result.fix,
                "seconds": round(finding.seconds, 3),
            }
            for finding in findings
        ],
    }


def _wrapped(first: str, text: str) -> list[str]:
    lines = [
        line
        for paragraph in text.splitlines()
        for line in textwrap.wrap(
            paragraph, WIDTH - len(first), break_long_words=False, break_on_hyphens=False
        )
        or [""]
    ]
    return [(first if number == 0 else " " * len(first)) + line for number, line in enumerate(lines)]
