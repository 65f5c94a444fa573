"""Memory, disk, time, and who may open what."""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from pathlib import Path

from edge_app.doctor.machine import Machine
from edge_app.doctor.result import Result, failed, ok, skipped, warning
from edge_app.files.place import why_unusable
from edge_app.publish.jsonl.rotating import RESERVE_BYTES as FILES_RESERVE_BYTES

GIB = 1 << 30
MIB = 1 << 20
LEAST_FREE = 256 * MIB
"""Below this the kernel may kill the daemon itself."""
BUILD_FREE = 2 * GIB
"""Builds on boards with less than this were killed, users report; a rule of thumb."""
LEAST_DISK = 100 * MIB
SPARE_DISK = 2 * GIB
"""Engines, timing caches, compiled kernels."""
EARLIEST = 1_735_689_600
"""2025-01-01: a clock before this has never been set, and certificates are not valid yet."""


def check_memory(machine: Machine, *, builds: bool) -> Result:
    """Look at free memory and swap.

    Args:
        machine: Whose /proc/meminfo counts.
        builds: Whether engines are built on this machine.
    """
    text = machine.read("/proc/meminfo") or ""
    fields = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    if "MemAvailable" not in fields:
        return skipped("/proc/meminfo does not tell")
    free, swap = fields["MemAvailable"], fields.get("SwapFree", 0)
    found = (
        f"{free / GIB:.1f} of {fields.get('MemTotal', 0) / GIB:.1f} GiB free, {swap / GIB:.1f} GiB of swap"
    )
    if free + swap < LEAST_FREE:
        return failed(
            found, "End other programs (a desktop above all: sudo systemctl set-default multi-user.target)."
        )
    if builds and free + swap < BUILD_FREE:
        return warning(
            f"{found}: a build of an engine may be killed",
            "Add swap on disk: sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && sudo mkswap "
            "/swapfile && sudo swapon /swapfile; end the desktop while building; or set "
            "engine.workspace_mib: 256 and engine.optimization_level: 1.",
        )
    return ok(found)


def check_disk(folder: Path, outbox_bytes: int) -> Result:
    """Look at the room where engines and the outbox are kept, and whether it can be written.

    Args:
        folder: The state directory; it need not exist yet.
        outbox_bytes: How large the outbox may get.
    """
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / GIB:.1f} GiB free at {place}"
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return failed(
            f"{place} is on a read-only file system", "sudo mount -o remount,rw, and look at dmesg."
        )
    if free < LEAST_DISK:
        return failed(found, "Free room: journalctl --vacuum-size=200M, apt clean, edge-app engines --prune.")
    if free < outbox_bytes + SPARE_DISK:
        return warning(
            f"{found}; outbox and engines may want {(outbox_bytes + SPARE_DISK) / GIB:.1f} GiB",
            "Free room, lower mqtt.outbox.max_mib, or move engine.directory and mqtt.outbox.directory.",
        )
    return ok(found)


def check_files(folder: Path, name: str, most_bytes: int) -> Result:
    """Look at the room for the files of a sink, and whether they can be made.

    Args:
        folder: Where they lie; it need not exist yet.
        name: Of the sink.
        most_bytes: What all of them may take.
    """
    key = f"sinks.{name}.directory"
    why = why_unusable(folder.absolute())
    if why is not None:
        return failed(why, f"Let the service's user write there, or name another place in {key}.")
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / GIB:.1f} GiB free at {place}"
    there = sum(path.stat().st_size for path in folder.glob(f"{name}.*jsonl")) if folder.is_dir() else 0
    if free + there < most_bytes + FILES_RESERVE_BYTES:
        return warning(
            f"{found}; its files may take {most_bytes / GIB:.1f} GiB",
            f"Free room, lower max_mib or max_files, or name another place in {key}.",
        )
    return ok(found)


def check_clock(synchronised: bool, now_s: float | None = None) -> Result:
    """Judge the clock.

    Args:
        synchronised: What the kernel says of it.
        now_s: Unix time; None: this moment.
    """
    now_s = time.time() if now_s is None else now_s
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    fix = "sudo timedatectl set-ntp true, or install chrony; without internet: of your own time server."
    if now_s < EARLIEST:
        return failed(f"the clock says {shown}: it was never set, and TLS refuses every certificate", fix)
    if not synchronised:
        return warning(
            f"the clock says {shown} and follows no reference: times of messages may be wrong", fix
        )
    return ok(f"synchronised: {shown}")


def check_devices(machine: Machine, wanted: tuple[str, ...]) -> Result:
    """Look whether the service's user may open GPU and cameras.

    Args:
        machine: Whose device files, users and groups count.
        wanted: Patterns of absolute paths, such as /dev/nvmap and /dev/video*.
    """
    nodes = [path for pattern in wanted for path in machine.glob(pattern)]
    if not nodes:
        return skipped("this machine has neither a GPU's nor a camera's device files")
    user = machine.user()
    if user is None:
        return skipped("whoever runs edge-app is in no list of users")
    shut = [path for path in nodes if not _may_open(path, user.uid, user.gids)]
    if not shut:
        return ok(f"{user.name} may open all {len(nodes)} device files of GPU and cameras")
    names = ", ".join(f"/{path.relative_to(machine.root)}" for path in shut[:6])
    private = [path for path in shut if not path.stat().st_mode & 0o060]
    fix = f"sudo usermod -aG video,render {user.name}, and log in again or restart the service."
    if private:
        fix = "Their group may not open them: install systemd/udev.rules (sudo make install) and restart."
    return failed(f"{user.name} may not open {names}{' and more' if len(shut) > 6 else ''}", fix)


def _may_open(path: Path, uid: int, gids: frozenset[int]) -> bool:
    """Whether read and write are granted by owner, group or others, as the kernel would decide."""
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if uid == 0:
        return True
    shift = 6 if status.st_uid == uid else 3 if status.st_gid in gids else 0
    return (mode >> shift) & 0o6 == 0o6
