"""Whether the clock is worth anything."""

from __future__ import annotations

import time

import pytest

from edge_app.ops import clock
from edge_app.ops.clock import ClockSync


class Libc:
    def __init__(self, answer: int) -> None:
        self._answer = answer

    def adjtimex(self, _timex: object) -> int:
        return self._answer


@pytest.mark.parametrize(("answer", "synced"), [(0, True), (1, True), (5, False), (-1, False)])
def test_the_kernel_decides(monkeypatch: pytest.MonkeyPatch, answer: int, synced: bool) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _name: Libc(answer))
    assert clock.kernel_clock_synced() is synced


def test_without_the_call_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    assert clock.kernel_clock_synced() is False


def test_the_real_kernel_answers() -> None:
    assert clock.kernel_clock_synced() in {True, False}


def test_the_answer_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True, False])
    monkeypatch.setattr(clock, "kernel_clock_synced", lambda: next(answers))
    patient, impatient = ClockSync(cache_s=3600), ClockSync(cache_s=0)
    assert [patient.synced(), patient.synced()] == [True, True]
    assert impatient.synced() is False


def test_after_a_step_the_kernel_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True, False])
    monkeypatch.setattr(clock, "kernel_clock_synced", lambda: next(answers))
    watched = ClockSync(cache_s=3600)
    assert watched.synced() is True
    real_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() - 86_400 * 10**9)
    assert [watched.synced(), watched.synced()] == [False, False]
