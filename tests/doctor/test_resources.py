"""Memory, disk, time and device files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_app.doctor.resources import (
    EARLIEST,
    check_clock,
    check_devices,
    check_disk,
    check_files,
    check_memory,
)
from edge_app.doctor.result import Status
from tests.doctor.conftest import Root

GIB_KIB = 1 << 20


def meminfo(free_kib: int, swap_kib: int) -> str:
    return (
        f"MemTotal: {8 * GIB_KIB} kB\nMemFree: 1 kB\nMemAvailable:  {free_kib} kB\nSwapFree: {swap_kib} kB\n"
    )


@pytest.mark.parametrize(
    ("free_kib", "swap_kib", "builds", "status"),
    [
        (4 * GIB_KIB, 0, True, Status.OK),
        (GIB_KIB, 0, True, Status.WARNING),
        (GIB_KIB, 0, False, Status.OK),
        (GIB_KIB, 8 * GIB_KIB, True, Status.OK),
        (100 * 1024, 0, False, Status.FAILED),
    ],
)
def test_a_build_wants_memory_or_swap(
    root: Root, free_kib: int, swap_kib: int, builds: bool, status: Status
) -> None:
    root.write({"/proc/meminfo": meminfo(free_kib, swap_kib)})
    result = check_memory(root.machine, builds=builds)
    assert result.status is status, result
    assert status is not Status.WARNING or "mkswap" in (result.fix or "")


def test_the_disk_must_hold_the_outbox(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    assert check_disk(folder, 0).found.endswith(f"at {tmp_path}")
    assert check_disk(folder, 1 << 60).status is Status.WARNING


def test_the_disk_must_hold_the_files_of_a_sink(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    assert check_files(folder, "log", 1 << 20).found.endswith(f"at {tmp_path}")
    assert "max_files" in (check_files(folder, "log", 1 << 60).fix or "")
    (tmp_path / "not").write_text("a file")
    result = check_files(folder, "log", 1 << 20)
    assert (result.status, result.found) == (Status.FAILED, f"{tmp_path / 'not'} is not a directory")
    assert "sinks.log.directory" in (result.fix or "")


@pytest.mark.parametrize(
    ("synchronised", "now_s", "status"),
    [(True, EARLIEST + 1, Status.OK), (False, EARLIEST + 1, Status.WARNING), (True, 86400, Status.FAILED)],
)
def test_a_clock_that_was_never_set_is_worse_than_one_that_drifts(
    synchronised: bool, now_s: float, status: Status
) -> None:
    assert check_clock(synchronised, now_s).status is status


GROUP = 4711


@pytest.fixture
def nodes(jetson: Root) -> Root:
    """A Jetson with the service's user, and device files of a group that it is not in."""
    if os.geteuid() != 0:
        pytest.skip("device files of another group need root")
    jetson.write(
        {
            "/etc/passwd": "root:x:0:0::/:/bin/sh\nedge-app:x:990:990::/:/bin/false\n",
            "/etc/group": f"edge-app:x:990:\nvideo:x:{GROUP}:somebody\n",
            "/dev/nvmap": "",
            "/dev/video0": "",
        }
    )
    for name in ("/dev/nvmap", "/dev/video0"):
        os.chown(jetson.machine.path(name), 0, GROUP)
        jetson.machine.path(name).chmod(0o660)
    return jetson


def test_a_user_outside_the_group_may_not_open_them(nodes: Root) -> None:
    wanted = ("/dev/nvmap", "/dev/video*")
    result = check_devices(nodes.machine, wanted)
    assert (result.status, result.found) == (
        Status.FAILED,
        "edge-app may not open /dev/nvmap, /dev/video0",
    )
    assert (result.fix or "").startswith("sudo usermod -aG video,render edge-app")
    nodes.write({"/etc/group": f"edge-app:x:990:\nvideo:x:{GROUP}:somebody,edge-app\n"})
    assert check_devices(nodes.machine, wanted).found == (
        "edge-app may open all 2 device files of GPU and cameras"
    )


def test_device_files_that_no_group_may_open_want_a_rule(nodes: Root) -> None:
    nodes.machine.path("/dev/nvmap").chmod(0o600)
    nodes.write({"/etc/group": f"video:x:{GROUP}:edge-app\n"})
    result = check_devices(nodes.machine, ("/dev/nvmap", "/dev/video*"))
    assert result.found == "edge-app may not open /dev/nvmap"
    assert "udev.rules" in (result.fix or "")


def test_no_device_files_are_nothing_to_say(root: Root) -> None:
    assert check_devices(root.machine, ("/dev/nvmap",)).status is Status.SKIPPED
