"""What the process costs."""

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
