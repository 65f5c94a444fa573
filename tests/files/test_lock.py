"""The lock between processes."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from edge_app.files.lock import MOST_BYTES, Holder, LockedError, hold, holder_of

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from edge_app.files.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_who_holds_the_lock_is_told(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    told: list[Holder | None] = []
    with start_holder(path) as process:
        with (
            pytest.raises(LockedError, match=f"is held by process {process.pid} "),
            hold(path, timeout_s=0.3, on_wait=told.append),
        ):
            pytest.fail("two processes hold the lock")
        assert [holder and holder.pid for holder in told] == [process.pid]
        process.communicate("")


def test_a_wait_can_be_cancelled(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with start_holder(path) as process:
        answers = iter([False, True])
        with pytest.raises(LockedError), hold(path, cancelled=lambda: next(answers)):
            pytest.fail("two processes hold the lock")
        process.communicate("")


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with start_holder(path) as process:
        process.send_signal(signal.SIGKILL)
        with hold(path, timeout_s=20):
            holder = holder_of(path)
            assert holder is not None
            assert holder.pid == os.getpid()
        process.wait()


def test_an_unreadable_name_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    path.write_bytes(b"\xff{")
    assert holder_of(path) is None
    with hold(path, timeout_s=0):
        assert holder_of(path) is not None


def test_what_another_user_may_put_in_its_place_is_neither_waited_for_nor_followed(tmp_path: Path) -> None:
    with hold(tmp_path / "real"):
        (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes((tmp_path / "real").read_bytes() + b" " * 2 * MOST_BYTES + b"!")
    (tmp_path / "deep").write_text("[" * MOST_BYTES)
    assert holder_of(tmp_path / "real") is not None
    assert [holder_of(tmp_path / name) for name in ("link", "pipe", "deep")] == [None] * 3
    assert holder_of(tmp_path / "large") == holder_of(tmp_path / "real"), "its end is not read"


def test_a_full_disk_does_not_hinder_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    path = tmp_path / ".lock"
    with hold(path):
        assert holder_of(path) is None
        with pytest.raises(LockedError, match="is held by another process"), hold(path, timeout_s=0):
            pytest.fail("it is held twice")
