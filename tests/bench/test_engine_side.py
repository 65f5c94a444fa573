"""The TensorRT side of the engine benchmark, on a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_app.bench.engine_side import EngineSide
from edge_app.bench.turns import make_input, time_turn
from edge_app.gpu.resource import live_resources
from tests.gpu.plans import DOUBLE_RANGE, build_plan, double, write_plan
from tests.gpu.requirements import require_gpu

pytestmark = pytest.mark.gpu


def test_every_way_to_run_an_engine_gives_its_outputs(tmp_path: Path) -> None:
    gpu = require_gpu()
    write_plan(tmp_path, build_plan(double(), DOUBLE_RANGE), "small.fp32.engine")
    write_plan(tmp_path, b"no engine", "small.torn.engine")
    with gpu.attach():
        before = live_resources()
        side = EngineSide(tmp_path)
        for batch in (1, 3, 8):
            found = dict(side.open("small", batch))
            assert isinstance(found.pop("TensorRT torn"), str)
            assert set(found) == {"TensorRT fp32", "TensorRT fp32 graph"}
            for runner in found.values():
                if isinstance(runner, str):
                    assert runner == "cuda.bindings is not installed"
                    continue
                times = time_turn(runner, 0.001, 3)
                assert times["device_ms"] > 0
                np.testing.assert_array_equal(runner.outputs()[0], 2 * make_input((batch, 6)))
        assert set(side.open("small", 9)) == {"TensorRT torn"}
        assert side.open("other", 1) == {}
        side.close()
        assert live_resources() == before
