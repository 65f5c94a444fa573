"""What the process costs, and how it ends."""

import subprocess
import sys

import pytest

from edge_app.ops.process import CpuMeter, rss_bytes


def test_resident_memory_is_that_of_a_python_process() -> None:
    found = rss_bytes()
    assert found is not None
    assert 5e6 < found < 50e9


def test_the_processor_share_is_between_readings() -> None:
    wall, used = iter([0.0, 10.0, 20.0]), iter([0.0, 5.0, 20.0])
    meter = CpuMeter(lambda: next(wall), lambda: next(used))
    assert meter.percent() == pytest.approx(50)
    assert meter.percent() == pytest.approx(150)


HANGING = """
import atexit, threading, time
from edge_app.ops.process import leave
atexit.register(print, "a usual exit", flush=True)
if {hangs}:
    threading.Thread(target=time.sleep, args=(600,)).start()
print("last words", end=" ")
leave(3)
"""


@pytest.mark.parametrize(("hangs", "said"), [(False, "last words a usual exit"), (True, "last words")])
def test_the_process_ends_with_its_status_also_where_a_thread_hangs(hangs: bool, said: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", HANGING.format(hangs=hangs)], capture_output=True, text=True, timeout=60
    )
    assert (found.returncode, found.stdout.strip()) == (3, said)
