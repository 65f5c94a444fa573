"""How much memory a process holds, and whether the kernel killed one for want of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_app.memory import control_group_folders, field_of


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 once it has ended."""
    return (field_of(Path(f"/proc/{pid}/status"), "VmRSS") or 0) * 1024


@dataclass(frozen=True, slots=True)
class OomKills:
    """How many processes were killed for want of memory, by the whole system and in our control group."""

    system: int
    group: int

    @classmethod
    def read(cls) -> OomKills:
        """Return the counters of this moment; 0 where the kernel does not tell."""
        return cls(
            field_of(Path("/proc/vmstat"), "oom_kill") or 0,
            next((count for folder in control_group_folders() if (count := _killed(folder)) is not None), 0),
        )

    def since(self, before: OomKills) -> bool:
        """Tell whether any process was killed after `before`."""
        return self.system > before.system or self.group > before.group


def _killed(folder: Path) -> int | None:
    """Return how many processes of a control group were killed; version 1 counts them in another file."""
    count = field_of(folder / "memory.events", "oom_kill")
    return field_of(folder / "memory.oom_control", "oom_kill") if count is None else count
