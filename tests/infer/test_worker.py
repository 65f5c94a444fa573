"""The batch thread of a backend: in order, and never in the way of the process's end."""

import subprocess
import sys
import threading

import pytest

from edge_app.errors import BackendError
from edge_app.infer.worker import Worker


def test_calls_run_in_their_order_and_closing_finishes_them() -> None:
    worker: Worker[int] = Worker("batches")
    done: list[int] = []

    def call(number: int) -> int:
        done.append(number)
        return number * 10

    futures = [worker.submit(lambda number=number: call(number)) for number in range(20)]  # type: ignore[misc]
    assert worker.close(10)
    assert [future.result(0) for future in futures] == [number * 10 for number in range(20)]
    assert done == list(range(20))
    assert worker.close(0)


def test_an_error_reaches_who_waits_and_the_next_call_runs() -> None:
    worker: Worker[float] = Worker("batches")
    failing, next_one = worker.submit(lambda: 1 / 0), worker.submit(lambda: 2.0)
    with pytest.raises(ZeroDivisionError):
        failing.result(10)
    assert next_one.result(10) == 2.0
    assert worker.close(10)


def test_closing_does_not_wait_for_a_call_that_hangs_and_refuses_what_waits_behind_it() -> None:
    worker: Worker[bool] = Worker("batches")
    goes_on = threading.Event()
    hanging, waiting = worker.submit(goes_on.wait), worker.submit(lambda: True)
    assert not worker.close(0.05)
    with pytest.raises(BackendError, match="closed before the batch was run"):
        waiting.result(0)
    with pytest.raises(BackendError, match="not open"):
        worker.submit(lambda: True)
    goes_on.set()
    assert hanging.result(10)
    assert worker.close(10)


def test_a_call_that_hangs_does_not_keep_the_process_from_ending() -> None:
    code = (
        "import time; from edge_app.infer.worker import Worker; Worker('w').submit(lambda: time.sleep(600))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
