"""What a measurement on a GPU depends on besides versions: clocks, power, the power mode of a Jetson."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

ASKED_S = 10.0
SMI_FIELDS = {
    "clocks.sm": "sm clock, MHz",
    "clocks.max.sm": "most, MHz",
    "clocks.mem": "memory clock, MHz",
    "power.draw": "power, W",
    "power.limit": "power limit, W",
    "temperature.gpu": "temperature, C",
}


def gpu_state(ordinal: int = 0) -> dict[str, str]:
    """Return clocks and power of a GPU now, and a Jetson's power mode; what is unknown is left out."""
    query = ",".join(SMI_FIELDS)
    answer = _ask("nvidia-smi", f"--id={ordinal}", f"--query-gpu={query}", "--format=csv,noheader,nounits")
    values = [value.strip() for value in answer.partition("\n")[0].split(",")]
    known = {}
    if len(values) == len(SMI_FIELDS):
        pairs = zip(SMI_FIELDS.values(), values, strict=True)
        known = {name: value for name, value in pairs if value and "N/A" not in value}
    # It answers `NV Power Mode: MAXN`, and the mode's number below.
    mode = _ask("nvpmodel", "-q").partition("NV Power Mode:")[2].partition("\n")[0].strip()
    return known | ({"power mode": mode} if mode else {})


def _ask(program: str, *arguments: str) -> str:
    """Return what a program says; nothing where it is missing or fails."""
    if shutil.which(program) is None:
        return ""
    command: Sequence[str] = (program, *arguments)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASKED_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
