"""CPU time by thread: who used it, by the names that a person knows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_app.bench import threads
from edge_app.bench.threads import cpu_s_by_thread, used_between

BURNT_S = 0.1


@contextmanager
def burning(*names: str) -> Iterator[None]:
    """Threads of these names that have each used the processor for `BURNT_S` seconds, and still live."""
    goes_on = threading.Event()
    burnt = threading.Semaphore(0)

    def burn() -> None:
        while time.thread_time() < BURNT_S:
            pass
        burnt.release()
        goes_on.wait(60)

    started = [threading.Thread(target=burn, name=name) for name in names]
    for thread in started:
        thread.start()
    try:
        for _ in started:
            assert burnt.acquire(timeout=60)
        yield
    finally:
        goes_on.set()
        for thread in started:
            thread.join(60)


def make_task(folder: Path, number: int, schedstat: str | None) -> None:
    task = folder / str(number)
    task.mkdir()
    if schedstat is not None:
        (task / "schedstat").write_text(schedstat)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not count it")
def test_threads_that_share_the_front_of_their_name_count_together() -> None:
    before = cpu_s_by_thread()
    with burning("capture-front", "capture-back", "feeder"):
        used = used_between(before, cpu_s_by_thread())
    # The kernel may owe a thread its last tick.
    assert used["capture"] > 1.5 * BURNT_S
    assert 0.5 * BURNT_S < used["feeder"] < used["capture"]


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not count it")
def test_all_threads_together_use_what_the_process_used() -> None:
    before, process_s = cpu_s_by_thread(), time.process_time()
    with burning("capture-front", "feeder"):
        used = used_between(before, cpu_s_by_thread())
        process_s = time.process_time() - process_s
    assert sum(used.values()) == pytest.approx(process_s, abs=0.5 * BURNT_S)


def test_a_thread_that_is_not_pythons_is_native_and_one_that_has_ended_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "TASKS", tmp_path)
    main = threading.main_thread()
    assert main.native_id is not None
    make_task(tmp_path, main.native_id, "1500000000 7 3\n")
    make_task(tmp_path, 2**30, "250000000 7 3\n")
    make_task(tmp_path, 2**30 + 1, "500000000 7 3\n")
    make_task(tmp_path, 2**30 + 2, None)
    make_task(tmp_path, 2**30 + 3, "")
    assert cpu_s_by_thread() == {main.name.partition("-")[0]: 1.5, "native": 0.75}


def test_what_was_used_between_two_counts_comes_with_the_most_first() -> None:
    before = {"feeder": 1.0, "postprocess": 2.0, "idle": 3.0, "ended": 4.0}
    after = {"feeder": 1.5, "postprocess": 4.0, "idle": 3.0, "new": 1.0}
    used = used_between(before, after)
    assert list(used.items()) == [("postprocess", 2.0), ("new", 1.0), ("feeder", 0.5)]
