"""How much memory is left: of the machine, and of the control groups that this process is in.

The machine's is MemAvailable of proc_meminfo(5). A control group has a limit in memory.max and what is used
in memory.current (Linux, admin-guide/cgroup-v2), in version 1 memory.limit_in_bytes and
memory.usage_in_bytes; a service's is what systemd calls MemoryMax=. What is used counts files that were read
once; they give way first, so they are left out, as Kubernetes does for its working set. The groups above bind
as well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
_UNLIMITED = 1 << 60
"""Version 1 tells of no limit as of one that no machine reaches."""


@dataclass(frozen=True, slots=True)
class MemoryBound:
    """Something that bounds the memory of this process.

    Attributes:
        group: The control group, as /system.slice/edge-app.service; None is the machine itself.
        limit_bytes: What there is, or may be used, in all.
        available_bytes: What of it can still be had without swapping.
    """

    group: str | None
    limit_bytes: int
    available_bytes: int

    @property
    def share_left(self) -> float:
        """What can still be had, as a share of the whole, from 0 to 1."""
        return self.available_bytes / max(self.limit_bytes, 1)


@dataclass(frozen=True, slots=True)
class _Group:
    """A control group: its path among the groups as it is told, and its files."""

    path: str
    folder: Path

    def bound(self) -> MemoryBound | None:
        limit, used = self._number("memory.max"), self._number("memory.current")
        idle_files = field_of(self.folder / "memory.stat", "inactive_file")
        if limit is None:
            limit, used = self._number("memory.limit_in_bytes"), self._number("memory.usage_in_bytes")
            idle_files = field_of(self.folder / "memory.stat", "total_inactive_file")
        if limit is None or used is None or limit >= _UNLIMITED:
            return None
        working_set = max(used - (idle_files or 0), 0)
        return MemoryBound(self.path, limit, max(limit - working_set, 0))

    def _number(self, file: str) -> int | None:
        try:
            text = _text(self.folder / file).strip()
        except OSError:
            return None
        return int(text) if text.isdigit() else None  # "max" is no limit


def memory_bounds(proc: Path = Path("/proc"), root: Path = Path("/")) -> list[MemoryBound]:
    """Return what bounds the memory of this process now; empty where Linux does not tell.

    Args:
        proc: Where procfs is.
        root: What the mount points in `proc` are below.
    """
    bounds = [bound for group in _groups(proc, root) if (bound := group.bound()) is not None]
    total, available = (field_of(proc / "meminfo", name) for name in ("MemTotal", "MemAvailable"))
    if total is not None and available is not None:
        bounds.append(MemoryBound(None, total * 1024, available * 1024))
    return bounds


def available_bytes() -> int:
    """Return the memory that can be had without swapping: the least that is left; 0 if nothing is told."""
    return min((bound.available_bytes for bound in memory_bounds()), default=0)


def control_group_folders(proc: Path = Path("/proc"), root: Path = Path("/")) -> list[Path]:
    """Return the folders of the control groups that this process is in, its own before those above it."""
    return [group.folder for group in _groups(proc, root)]


def field_of(path: Path, name: str) -> int | None:
    """Return a number that a file of the kernel names at the beginning of a line; None if it does not."""
    try:
        found = re.search(rf"^{re.escape(name)}:?\s+(\d+)", _text(path), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def _text(path: Path) -> str:
    """Return what the kernel tells in a file, names in it so that a `Path` gives their bytes back."""
    return os.fsdecode(path.read_bytes())


def _lines(path: Path) -> list[str]:
    """Return the lines of a file of the kernel: `str.splitlines` splits at what paths may hold, too."""
    return [line for line in _text(path).split("\n") if line]


def _groups(proc: Path, root: Path) -> Iterator[_Group]:
    try:
        ours = _lines(proc / "self/cgroup")
        mounts = _lines(proc / "self/mountinfo")
    except OSError:
        return
    for line in ours:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            kind, option = "cgroup2", None
        elif "memory" in controllers.split(","):
            kind, option = "cgroup", "memory"
        else:
            continue
        places = [place for mount in mounts if (place := _place_of(mount, kind, option)) is not None]
        shown = [list(_upwards(path, top, root / at.lstrip("/"))) for top, at in places]
        # Of several mounts one is enough: one may show a part of what another one does, or the same again.
        yield from max(shown, key=len, default=[])


def _place_of(mount: str, kind: str, option: str | None) -> tuple[str, str] | None:
    """Return which group a line of mountinfo shows, and where; see proc_pid_mountinfo(5)."""
    left, _, right = mount.partition(" - ")
    kind_found, *_, options = right.split(" ")
    if kind_found != kind or (option is not None and option not in options.split(",")):
        return None
    fields = left.split(" ")
    return fields[3], fields[4]


def _upwards(path: str, top: str, mounted: Path) -> Iterator[_Group]:
    """Yield a group and those above it, as far as the mount shows them."""
    below = path.removeprefix(top.rstrip("/")).strip("/")
    levels = below.split("/") if below else []
    while True:
        folder = mounted.joinpath(*levels)
        if folder.is_dir():
            shown = os.fsencode("/" + "/".join(levels)).decode("utf-8", "replace")
            yield _Group(shown, folder)
        if not levels:
            return
        levels.pop()
