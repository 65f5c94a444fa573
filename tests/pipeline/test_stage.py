"""Stage threads and calls that may be left behind."""

import threading
import time

import pytest

from edge_app.errors import ChannelClosed
from edge_app.pipeline.stage import POLL_S, Stage, unless_stopped


def test_a_call_returns_what_it_returns_or_raises_what_it_raises() -> None:
    stop = threading.Event()
    names: list[str] = []

    def call() -> int:
        names.append(threading.current_thread().name)
        return 7

    assert unless_stopped(stop, "model", call) == 7
    assert names == ["model"]
    with pytest.raises(TimeoutError, match="of its own"):
        unless_stopped(stop, "model", lambda: (_ for _ in ()).throw(TimeoutError("of its own")))


def test_a_call_that_is_no_longer_wanted_is_left_behind() -> None:
    stop, goes_on, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> bool:
        stop.set()
        goes_on.wait()
        ended.set()
        return True

    assert unless_stopped(stop, "model", call) is None
    assert not ended.is_set()
    goes_on.set()
    assert ended.wait(10)


def test_who_is_told_to_stop_before_waits_for_nothing() -> None:
    stop = threading.Event()
    stop.set()
    assert unless_stopped(stop, "model", lambda: 7) is None


@pytest.mark.parametrize(
    ("error", "heard"), [(None, False), (ChannelClosed(), False), (SystemExit(3), True), (OSError(), True)]
)
def test_a_stage_that_ends_is_noticed_and_one_that_fails_is_heard(
    error: BaseException | None, heard: bool
) -> None:
    failures: list[tuple[str, BaseException]] = []
    ended = threading.Event()

    def body() -> None:
        if error is not None:
            raise error

    stage = Stage("feeder", body, lambda name, cause: failures.append((name, cause)), on_end=ended.set)
    stage.start()
    stage.join(10)
    assert ended.is_set()
    assert failures == ([("feeder", error)] if heard else [])


def test_a_call_that_is_cancelled_by_the_stop_has_not_failed() -> None:
    """A build that is ended in answer to SIGTERM may say so before the stop is noticed here."""
    stop = threading.Event()

    def call() -> int:
        time.sleep(POLL_S / 4)  # it is being waited for
        stop.set()
        raise TimeoutError("it was cancelled")

    assert unless_stopped(stop, "model", call) is None
