"""A part that has work and does none of it hangs; nothing else does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from edge_app.ops import last_words, progress
from edge_app.ops.progress import FRESH_S, POLL_S, Part, ProgressWatch, Sign, stack_of

DEADLINE_S = 10.0


class Bench:
    """A watch over one part, whose time goes by as `look` is called."""

    def __init__(self, look: Callable[[], Sign]) -> None:
        self.now_s = 100.0
        self.hung: list[tuple[str, float]] = []
        part = Part("inference", "MainThread", lambda: DEADLINE_S, look)
        self.watch = ProgressWatch(
            [part], lambda part, idle_s: self.hung.append((part.name, idle_s)), self.clock
        )

    def clock(self) -> float:
        return self.now_s

    def look(self, seconds: float, every_s: float = POLL_S) -> None:
        for _ in range(round(seconds / every_s)):
            self.now_s += every_s
            self.watch.step()


def test_what_has_work_and_does_none_hangs_at_its_deadline(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(lambda: Sign(work=True, done=7))
    bench.look(DEADLINE_S)
    assert not bench.hung
    assert bench.watch.well()
    bench.look(2 * POLL_S)
    assert [name for name, _ in bench.hung][:1] == ["inference"]
    assert bench.hung[0][1] == pytest.approx(DEADLINE_S, abs=POLL_S)
    assert not bench.watch.well()
    assert "stage inference has work and has done nothing for 10 s" in caplog.text
    assert "test_progress.py" in caplog.text, "where its thread is stands in the log"


def test_what_has_no_work_may_do_nothing_for_ever() -> None:
    bench = Bench(lambda: Sign(work=False, done=7))
    bench.look(100 * DEADLINE_S)
    assert not bench.hung


def test_what_does_something_once_in_a_while_does_not_hang() -> None:
    done = 0

    def look() -> Sign:
        return Sign(work=True, done=done)

    bench = Bench(look)
    for done in range(20):  # noqa: B007 - look() reads it
        bench.look(DEADLINE_S - 2 * POLL_S)
    assert not bench.hung


def test_work_that_came_just_now_has_its_whole_deadline() -> None:
    work = False
    bench = Bench(lambda: Sign(work, 0))
    bench.look(50 * DEADLINE_S)
    work = True
    bench.look(DEADLINE_S - POLL_S)
    assert not bench.hung


def test_a_process_that_stood_still_does_not_hang_when_it_goes_on() -> None:
    bench = Bench(lambda: Sign(work=True, done=3))
    bench.look(2.0)
    bench.now_s += 3600  # SIGSTOP, SIGCONT
    assert not bench.watch.well(), "nobody has looked for an hour"
    bench.watch.step()
    assert bench.watch.well()
    assert not bench.hung


def test_a_watch_that_does_not_look_is_not_well() -> None:
    bench = Bench(lambda: Sign(work=False, done=0))
    bench.look(2.0)
    bench.now_s += FRESH_S + 0.1
    assert not bench.watch.well()


def test_a_thread_of_its_own_looks_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    hung = threading.Event()
    part = Part("feeder", "nobody", lambda: 0.1, lambda: Sign(work=True, done=1))
    watch = ProgressWatch([part], lambda *_: hung.set())
    watch.start()
    assert hung.wait(5 * POLL_S)
    watch.stop()
    assert "its thread nobody: it has ended" in caplog.text
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_log_that_hangs_does_not_keep_it_from_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_words, "SAYING_S", 0.05)
    goes_on = threading.Event()

    class Stuck(logging.Handler):
        """Writes to a pipe that nobody reads."""

        def emit(self, record: logging.LogRecord) -> None:
            goes_on.wait()

    handler = Stuck()
    progress.logger.addHandler(handler)
    bench = Bench(lambda: Sign(work=True, done=7))
    looking = threading.Thread(target=bench.look, args=(DEADLINE_S + POLL_S,), daemon=True)
    try:
        looking.start()
        looking.join(10)
        assert bench.hung
    finally:
        goes_on.set()
        progress.logger.removeHandler(handler)


def test_the_stack_of_a_thread_ends_where_it_waits() -> None:
    stuck = threading.Event()

    def waits_in_a_driver() -> None:
        stuck.wait()

    thread = threading.Thread(target=waits_in_a_driver, name="stuck", daemon=True)
    thread.start()
    try:
        assert "in waits_in_a_driver" in stack_of("stuck")
    finally:
        stuck.set()
