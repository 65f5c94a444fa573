"""Where live detections wait, and where they are dropped."""

from __future__ import annotations

import threading

import pytest

from edge_app.messages import DropReason
from edge_app.publish import lane as lane_module
from edge_app.publish.lane import DetectionsLane
from tests.brokers import until
from tests.publish.parts import Neighbours, detections


def frame_ids(lane: DetectionsLane) -> list[int]:
    taken = []
    while (item := lane.take()) is not None:
        taken.append(item.info.frame_id)
    return taken


@pytest.fixture
def drops() -> Neighbours:
    return Neighbours()


def test_the_oldest_is_dropped_when_there_is_no_room(drops: Neighbours) -> None:
    lane = DetectionsLane(3, drops)
    lane.open()
    for frame_id in range(5):
        assert lane.put(detections(frame_id), wait=False)
    assert frame_ids(lane) == [2, 3, 4]
    assert drops.drops == {DropReason.PUBLISH_QUEUE_FULL: 2}


def test_it_is_shut_at_first_and_counts_what_comes(drops: Neighbours) -> None:
    lane = DetectionsLane(3, drops)
    assert not lane.put(detections(), wait=True)
    assert drops.drops == {DropReason.BROKER_ABSENT: 1}


def test_shutting_drops_what_waits(drops: Neighbours) -> None:
    lane = DetectionsLane(3, drops)
    lane.open()
    lane.put(detections(), wait=False)
    lane.shut(DropReason.SHUTDOWN)
    assert len(lane) == 0
    assert drops.drops == {DropReason.SHUTDOWN: 1}


def test_who_waits_enters_when_there_is_room(drops: Neighbours) -> None:
    lane = DetectionsLane(1, drops)
    lane.open()
    lane.put(detections(0), wait=True)
    thread = threading.Thread(target=lambda: lane.put(detections(1), wait=True))
    thread.start()
    assert lane.take() is not None
    thread.join()
    assert frame_ids(lane) == [1]
    assert drops.drops == {}


def test_who_waits_is_let_go_when_the_broker_goes(drops: Neighbours) -> None:
    lane = DetectionsLane(1, drops)
    lane.open()
    lane.put(detections(0), wait=True)
    thread = threading.Thread(target=lambda: lane.put(detections(1), wait=True))
    thread.start()
    lane.shut(DropReason.BROKER_ABSENT)
    thread.join()
    assert drops.drops == {DropReason.BROKER_ABSENT: 2}


def test_a_broker_that_stands_still_is_waited_for_once(
    drops: Neighbours, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(lane_module, "STALL_S", 0.01)
    lane = DetectionsLane(2, drops)
    lane.open()
    real_wait = lane._changed.wait_for

    def noting(predicate: object, timeout: float) -> bool:
        waits.append(timeout)
        return bool(real_wait(predicate, timeout))  # type: ignore[arg-type]

    monkeypatch.setattr(lane._changed, "wait_for", noting)
    for frame_id in range(6):
        lane.put(detections(frame_id), wait=True)
    assert drops.drops == {DropReason.PUBLISH_QUEUE_FULL: 4}
    assert len(waits) == 3, "two entered, one waited in vain, the others did not wait"
    assert frame_ids(lane) == [4, 5]
    lane.put(detections(6), wait=True)
    until(lambda: len(waits) == 4, "waiting again once something moves")
