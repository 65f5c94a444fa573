"""What bounds our memory, as the kernel shows it: control groups of both versions, and the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_app.memory import MemoryBound, available_bytes, control_group_folders, memory_bounds

MIB = 1 << 20
V2 = "29 22 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = "36 31 0:33 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
V1_CPU = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "proc/meminfo", "MemTotal: 8000 kB\nMemFree: 10 kB\nMemAvailable: 2000 kB")
    return tmp_path


def write(root: Path, name: str, text: object) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def belongs(root: Path, groups: str, *mounts: str) -> None:
    write(root, "proc/self/cgroup", groups)
    write(root, "proc/self/mountinfo", "\n".join(mounts))


def bounds(root: Path) -> list[MemoryBound]:
    return memory_bounds(root / "proc", root)


MACHINE = MemoryBound(None, 8000 * 1024, 2000 * 1024)


def test_a_service_and_its_slice(root: Path) -> None:
    """As systemd lays it: the service has MemoryMax=, the slice above it has none, the root has no file."""
    belongs(root, "0::/system.slice/edge-app.service", V2)
    service = "sys/fs/cgroup/system.slice/edge-app.service"
    write(root, f"{service}/memory.max", 400 * MIB)
    write(root, f"{service}/memory.current", 390 * MIB)
    write(root, f"{service}/memory.stat", f"anon 5\ninactive_file {40 * MIB}\nactive_file 7")
    write(root, "sys/fs/cgroup/system.slice/memory.max", "max")
    write(root, "sys/fs/cgroup/system.slice/memory.current", 500 * MIB)
    found = bounds(root)
    assert found == [MemoryBound("/system.slice/edge-app.service", 400 * MIB, 50 * MIB), MACHINE]
    assert found[0].share_left == pytest.approx(0.125)
    assert control_group_folders(root / "proc", root)[0] == root / service


def test_the_slice_above_binds_too(root: Path) -> None:
    belongs(root, "0::/cameras.slice/edge-app.service", V2)
    for group, limit in (("cameras.slice", 100), ("cameras.slice/edge-app.service", 300)):
        write(root, f"sys/fs/cgroup/{group}/memory.max", limit * MIB)
        write(root, f"sys/fs/cgroup/{group}/memory.current", 120 * MIB)
    assert bounds(root)[1] == MemoryBound("/cameras.slice", 100 * MIB, 0), "more is used than allowed"


def test_version_1(root: Path) -> None:
    belongs(root, "8:cpu:/other\n4:memory:/box\n0::/", V1_CPU, V1)
    write(root, "sys/fs/cgroup/memory/box/memory.limit_in_bytes", 64 * MIB)
    write(root, "sys/fs/cgroup/memory/box/memory.usage_in_bytes", 60 * MIB)
    write(root, "sys/fs/cgroup/memory/box/memory.stat", f"inactive_file 1\ntotal_inactive_file {MIB}")
    write(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", 9223372036854771712)
    write(root, "sys/fs/cgroup/memory/memory.usage_in_bytes", 60 * MIB)
    assert bounds(root) == [MemoryBound("/box", 64 * MIB, 5 * MIB), MACHINE]


def test_a_container_sees_its_own_group_as_the_top(root: Path) -> None:
    """Without a namespace of its own its path is the host's, and the mount begins at its group."""
    mount = V1.replace(" / /sys", " /docker/abc /sys")
    belongs(root, "4:memory:/docker/abc", mount)
    write(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", 64 * MIB)
    write(root, "sys/fs/cgroup/memory/memory.usage_in_bytes", 60 * MIB)
    assert bounds(root)[0] == MemoryBound("/", 64 * MIB, 4 * MIB)


def test_a_group_that_cannot_be_seen(root: Path) -> None:
    belongs(root, "0::/../elsewhere", V2)
    assert bounds(root) == [MACHINE]


def test_paths_that_are_no_utf_8(root: Path) -> None:
    """The kernel shows names as the bytes that they are: of other mounts, and of groups."""
    belongs(root, "", V2)
    (root / "proc/self/mountinfo").write_bytes(
        b"40 22 8:1 / /media/caf\xe9\r\xe2\x80\xa8 rw - ext4 /dev/sdb1 rw\n" + V2.encode() + b"\n"
    )
    (root / "proc/self/cgroup").write_bytes(b"0::/caf\xe9.slice\n")
    folder = root / "sys/fs/cgroup" / os.fsdecode(b"caf\xe9.slice")
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text(f"{100 * MIB}\n")
    (folder / "memory.current").write_text(f"{60 * MIB}\n")
    (folder / "memory.stat").write_bytes(b"caf\xe9 1\ninactive_file 0\n")
    assert bounds(root) == [MemoryBound("/caf\ufffd.slice", 100 * MIB, 40 * MIB), MACHINE]
    assert control_group_folders(root / "proc", root)[0] == folder


def test_a_group_that_is_mounted_twice_counts_once(root: Path) -> None:
    part = V2.replace("/ /sys/fs/cgroup ", "/a.slice /part ")
    belongs(root, "0::/a.slice/b", part, V2, V2.replace("/sys/fs", "/again"))
    for place in ("part/b", "sys/fs/cgroup/a.slice/b", "again/cgroup/a.slice/b"):
        write(root, f"{place}/memory.max", 100 * MIB)
        write(root, f"{place}/memory.current", 60 * MIB)
    write(root, "sys/fs/cgroup/a.slice/memory.max", 90 * MIB)
    write(root, "sys/fs/cgroup/a.slice/memory.current", 60 * MIB)
    assert bounds(root) == [
        MemoryBound("/a.slice/b", 100 * MIB, 40 * MIB),
        MemoryBound("/a.slice", 90 * MIB, 30 * MIB),
        MACHINE,
    ], "the mount that shows most"


def test_nothing_is_told(tmp_path: Path) -> None:
    assert memory_bounds(tmp_path, tmp_path) == []
    assert control_group_folders(tmp_path, tmp_path) == []


def test_this_machine() -> None:
    assert available_bytes() > 0
    assert all(0 <= bound.available_bytes <= bound.limit_bytes for bound in memory_bounds())
