from __future__ import annotations

import pytest

from edge_app.bench.street import Load
from edge_app.bench.street_processes import Daemons
from edge_app.config.models import AppConfig, InferenceSection
from edge_app.errors import BackendError


def config(path: str = "demo") -> AppConfig:
    app = AppConfig(inference=InferenceSection(backend="onnxruntime", threads=1))
    return app.model_copy(update={"model": app.model.model_copy(update={"path": path})})


def test_daemons_share_the_cameras_and_are_seen_as_one() -> None:
    daemons = Daemons(config(), 2)
    try:
        found = daemons.measure(Load(cameras=3, fps=4.0, size=(320, 240), seconds=2.0))
    finally:
        daemons.close()
    assert 8 <= found.frames_per_s <= 16
    assert found.captured >= 16
    assert len(found.latency_ms) == 3
    assert found.python_us == pytest.approx(found.cpu / found.frames_per_s * 1e6)
    assert found.threads_us["postprocess"] > 0


def test_a_daemon_that_cannot_start_says_why() -> None:
    with pytest.raises(BackendError, match=r"no such file|there is no|not a file"):
        Daemons(config("/nowhere/model.onnx"), 2)
