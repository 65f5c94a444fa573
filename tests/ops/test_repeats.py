"""Lines that repeat themselves: the first are shown, the others counted, and nothing else is touched."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from edge_app.ops.log_fields import fields_of
from edge_app.ops.repeats import MOST_KINDS, RepeatLimit
from tests.brokers import until


class Recorder(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self.records]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Log:
    """A logger whose records go through a limit of 3 in 60 s."""

    def __init__(self, name: str, window_s: float = 60.0) -> None:
        self.clock, self.recorder = Clock(), Recorder()
        self.limit = RepeatLimit(self.recorder, burst=3, window_s=window_s, clock=self.clock)
        self.logger = logging.getLogger(name)
        self.logger.setLevel(logging.DEBUG)
        self.logger.propagate = False
        self.logger.addHandler(self.limit)

    def end(self) -> None:
        self.logger.removeHandler(self.limit)
        self.limit.close()


@pytest.fixture
def log() -> Iterator[Log]:
    made = Log("edge_app.capture.test_repeats")
    yield made
    made.end()


def test_what_is_alike_is_shown_a_few_times_and_then_counted(log: Log) -> None:
    for number in range(10):
        log.logger.warning("camera %s: no picture for %d s", "gate", number)
    assert log.recorder.lines == [f"camera gate: no picture for {number} s" for number in range(3)]
    log.clock.now += 61
    log.logger.info("something else")
    summary, other = log.recorder.records[3:]
    assert summary.getMessage() == (
        "camera gate: no picture for 9 s (the last of 7 more like it that were left out in 60 s)"
    )
    assert other.getMessage() == "something else"
    assert (summary.levelno, fields_of(summary)["CAMERA"]) == (logging.WARNING, "gate")
    assert log.limit.left_out == 7


def test_a_new_window_begins_anew(log: Log) -> None:
    for _ in range(5):
        log.logger.info("again")
    log.clock.now += 61
    log.logger.info("again")
    assert [line.partition(" (")[0] for line in log.recorder.lines] == ["again"] * 5
    assert sum("2 more like it" in line for line in log.recorder.lines) == 1


def test_what_differs_is_shown(log: Log) -> None:
    for _ in range(5):
        log.logger.info("camera %s: streaming", "1")
        log.logger.info("camera %s: streaming", "2")
        log.logger.info("camera %s: lost: no route", "1")
        log.logger.warning("camera %s: streaming", "1")
    assert len(log.recorder.lines) == 4 * 3


@pytest.mark.parametrize("level", [logging.DEBUG, logging.CRITICAL])
def test_debug_and_critical_are_all_shown(log: Log, level: int) -> None:
    for _ in range(20):
        log.logger.log(level, "again")
    assert len(log.recorder.lines) == 20


def test_the_count_is_told_although_nothing_follows() -> None:
    log = Log("edge_app.test_repeats_alone", window_s=0.2)
    try:
        for _ in range(5):
            log.logger.error("again")
        log.clock.now += 1
        until(lambda: len(log.recorder.lines) == 4, "the count is told", timeout_s=5)
        assert "2 more like it" in log.recorder.lines[-1]
    finally:
        log.end()


def test_the_count_is_told_at_the_end(log: Log) -> None:
    for _ in range(5):
        log.logger.error("again")
    log.limit.tell_all()
    log.limit.tell_all()
    assert [line.partition(" (")[0] for line in log.recorder.lines] == ["again"] * 4
    assert "2 more like it" in log.recorder.lines[-1]


def test_a_traceback_is_not_repeated_with_the_count(log: Log) -> None:
    error = ValueError("x")
    for _ in range(5):
        log.logger.error("failed", exc_info=error)
    log.limit.tell_all()
    assert [record.exc_info is not None for record in log.recorder.records] == [True] * 3 + [False]


def test_many_kinds_are_not_remembered_for_ever(log: Log) -> None:
    for number in range(3 * MOST_KINDS):
        log.logger.info("%s", "x" * (number % 250) + "abcdefghijklmnopqrstuvwxyz"[number // 250])
    assert len(log.recorder.lines) == 3 * MOST_KINDS
    assert len(log.limit._kinds) <= MOST_KINDS


def test_words_that_do_not_fit_are_left_to_the_target(log: Log) -> None:
    record = logging.makeLogRecord({"msg": "%d", "args": ("no number",), "levelno": logging.INFO})
    log.limit.handle(record)
    assert len(log.recorder.records) == 1
