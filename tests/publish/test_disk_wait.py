"""A thread that a disk does not answer, and one that takes long."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from edge_app.publish.disk_wait import DiskWait, io_calls


def looked_at(wait: DiskWait, seconds: float) -> float:
    """Look all the time; return the longest time that it hung for."""
    until_s, longest_s = time.monotonic() + seconds, 0.0
    while time.monotonic() < until_s:
        longest_s = max(longest_s, wait.hangs_s())
        time.sleep(0.01)
    return longest_s


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a thread's reads")
def test_reads_of_this_thread_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    before = io_calls(threading.get_native_id())
    (tmp_path / "a").read_bytes()
    after = io_calls(threading.get_native_id())
    assert before is not None
    assert after is not None
    assert before < after


def test_a_thread_that_does_not_exist_counts_nothing() -> None:
    assert io_calls(None) is None
    assert io_calls(1 << 30) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a thread's reads")
def test_long_work_on_a_disk_that_answers_is_no_hang(tmp_path: Path) -> None:
    wait, ended = DiskWait(1.0), threading.Event()
    (tmp_path / "a").write_bytes(b"a")
    file = os.open(tmp_path / "a", os.O_RDONLY)

    def works() -> None:
        wait.begin()
        while not ended.is_set():
            os.pread(file, 1, 0)
            time.sleep(0.05)
        wait.end()

    thread = threading.Thread(target=works)
    thread.start()
    assert looked_at(wait, 2.5) == 0
    ended.set()
    thread.join()
    os.close(file)


def test_a_disk_that_does_not_answer_hangs_until_it_does() -> None:
    wait = DiskWait(0.4, lambda _: 7)
    assert looked_at(wait, 0.6) == 0, "nobody asked it anything"
    wait.begin()
    assert looked_at(wait, 0.2) == 0
    assert looked_at(wait, 0.5) >= 0.4
    wait.end()
    assert wait.hangs_s() == 0
    wait.begin()
    assert wait.hangs_s() == 0, "it begins anew"


def test_where_nobody_counts_it_is_the_time_that_tells() -> None:
    wait = DiskWait(0.4, lambda _: None)
    wait.begin()
    assert looked_at(wait, 0.8) >= 0.4
