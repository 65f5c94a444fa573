"""Short sleeps: as long as asked for, in the thread that wants it, and in no other."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import TypeVar

import pytest

from edge_app.gpu.naps import PR_SET_TIMERSLACK, SLACK_NS, sleep_precisely

T = TypeVar("T")

PR_GET_TIMERSLACK = 30
LAZY_NS = 2_000_000
NAP_S = 20e-6
NAPS = 60


def slack_ns() -> int:
    """How much longer the kernel may let this thread sleep."""
    return int(ctypes.CDLL(None).prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0))


def set_slack(nanoseconds: int) -> None:
    assert ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(nanoseconds), 0, 0, 0) == 0


def in_a_new_thread(call: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(call).result(60)


def nap_s() -> float:
    """The usual length of a nap of `NAP_S`."""
    naps = []
    for _ in range(NAPS):
        started = time.perf_counter()
        time.sleep(NAP_S)
        naps.append(time.perf_counter() - started)
    return median(naps)


@pytest.fixture(autouse=True)
def a_kernel_with_timer_slack() -> None:
    if slack_ns() < 0:
        pytest.skip("this kernel does not tell the timer slack")


def test_sleeps_become_shorter() -> None:
    def measure() -> tuple[float, float]:
        # Naps start with a slack far longer than they are, so that noise cannot hide the difference.
        set_slack(LAZY_NS)
        lazy_s = nap_s()
        sleep_precisely()
        return lazy_s, nap_s()

    lazy_s, precise_s = in_a_new_thread(measure)
    assert NAP_S <= precise_s < lazy_s


def test_only_the_thread_that_asks_is_told() -> None:
    told, measured = threading.Event(), threading.Event()

    def ask() -> int:
        set_slack(LAZY_NS)
        sleep_precisely()
        told.set()
        assert measured.wait(60)
        return slack_ns()

    def other() -> tuple[int, int]:
        set_slack(LAZY_NS)
        before = slack_ns()
        assert told.wait(60)
        after = slack_ns()
        measured.set()
        return before, after

    with ThreadPoolExecutor(2) as executor:
        asking, watching = executor.submit(ask), executor.submit(other)
        assert watching.result(60) == (LAZY_NS, LAZY_NS)
        assert asking.result(60) == SLACK_NS


def test_the_kernel_is_told_once_by_each_thread() -> None:
    def ask_twice() -> int:
        sleep_precisely()
        set_slack(LAZY_NS)
        sleep_precisely()
        return slack_ns()

    assert in_a_new_thread(ask_twice) == LAZY_NS


def test_where_the_kernel_refuses_sleeps_are_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    # A number that prctl does not know is refused like one that it does not allow.
    monkeypatch.setattr("edge_app.gpu.naps.PR_SET_TIMERSLACK", 2**20)

    def ask() -> int:
        set_slack(LAZY_NS)
        sleep_precisely()
        return slack_ns()

    assert in_a_new_thread(ask) == LAZY_NS
