"""How much memory there is, how much a process holds, and whether the kernel killed for want of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


def available_bytes() -> int:
    """Return the memory that can be used without swapping: the system's, or less in a control group."""
    system = _field(Path("/proc/meminfo"), "MemAvailable") * 1024
    limit = _cgroup_left()
    return system if limit is None else min(system, limit)


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 once it has ended."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS") * 1024


@dataclass(frozen=True, slots=True)
class OomKills:
    """How many processes were killed for want of memory, by the whole system and in our control group."""

    system: int
    group: int

    @classmethod
    def read(cls) -> OomKills:
        """Return the counters of this moment; 0 where the kernel does not tell."""
        group = _cgroup_folder()
        return cls(
            _field(Path("/proc/vmstat"), "oom_kill"),
            0 if group is None else _field(group / "memory.events", "oom_kill"),
        )

    def since(self, before: OomKills) -> bool:
        """Tell whether any process was killed after `before`."""
        return self.system > before.system or self.group > before.group


def _field(path: Path, name: str) -> int:
    try:
        found = re.search(rf"^{name}:?\s+(\d+)", path.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _cgroup_folder() -> Path | None:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("0::"):
            folder = Path("/sys/fs/cgroup") / line[3:].lstrip("/")
            return folder if folder.is_dir() else None
    return None


def _cgroup_left() -> int | None:
    folder = _cgroup_folder()
    if folder is None:
        return None
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(int(limit) - used, 0)
