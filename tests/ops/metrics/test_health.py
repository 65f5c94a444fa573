"""What counts as dead, and what as not doing the work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_app.messages import CameraState, NodeState
from edge_app.ops.metrics.health import Health

WELL = Health(
    NodeState.ONLINE, cameras={"a": CameraState.STREAMING, "b": CameraState.LOST}, processed=1
)  # without a broker


def test_one_camera_that_streams_is_enough_and_the_broker_may_be_away() -> None:
    assert WELL.failures() == []
    assert WELL.obstacles() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ended_parts": ["stage feeder"]}, "stage feeder has ended"),
        (
            {"standstill_s": {"cars": 9.9, "faces": 31.0}, "deadlines_s": {"cars": 9.0, "faces": 9.0}},
            "model faces: frames have waited for 31 s",
        ),
    ],
)
def test_what_a_restart_would_mend_is_a_failure_and_an_obstacle(
    changes: dict[str, object], words: str
) -> None:
    health = replace(WELL, **changes)  # type: ignore[arg-type]
    assert [words in reason for reason in health.failures()] == [True]
    assert health.obstacles() == health.failures()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": NodeState.STARTING, "reason": "building the engine of demo: 5 %"}, "starting: building"),
        ({"state": NodeState.STARTING}, "starting"),
        ({"state": NodeState.STOPPING, "ended_parts": ["stage feeder"]}, "stopping"),
        ({"cameras": {"a": CameraState.LOST, "b": CameraState.CONNECTING}}, "no camera streams"),
        ({"processed": 0}, "no frame was processed yet"),
        (
            {"processed": 0, "standstill_s": {"cpu": 31.0}, "deadlines_s": {"cpu": 60.0}},
            "no frame was processed yet",
        ),
    ],
)
def test_what_a_restart_would_only_begin_anew_is_an_obstacle_alone(
    changes: dict[str, object], words: str
) -> None:
    health = replace(WELL, **changes)  # type: ignore[arg-type]
    assert health.failures() == []
    assert [words in reason for reason in health.obstacles()] == [True]


def test_a_model_whose_batches_take_long_is_waited_for_as_long_as_by_the_daemon_itself() -> None:
    waits = replace(WELL, standstill_s={"cpu": 12.0}, deadlines_s={"cpu": 60.0})
    assert waits.failures() == waits.obstacles() == []
