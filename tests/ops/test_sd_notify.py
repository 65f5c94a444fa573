"""What the service manager hears, on a real socket."""

import socket
import time
from pathlib import Path

import pytest

from edge_app.ops.sd_notify import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_assignments_arrive_in_one_datagram(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    name = f"@edge-app-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert notify("STATUS=building", "EXTEND_TIMEOUT_USEC=30000000")
        assert manager.recv(4096) == b"STATUS=building\nEXTEND_TIMEOUT_USEC=30000000"


def test_without_a_manager_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify("READY=1")


def test_a_manager_that_does_not_read_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        began_s = time.monotonic()
        told = [notify("WATCHDOG=1") for _ in range(20)]
        # Linux queues net.unix.max_dgram_qlen datagrams, 10 by default, for a socket that nobody reads.
        assert told[0]
        assert not told[-1] or sum(told) == 20
        assert time.monotonic() - began_s < 20 * 0.5
