"""The lanes: newest frame of a live camera wins, no frame of a file is lost, every drop is counted."""

import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.errors import ChannelClosed
from edge_app.messages import DropReason, Frame, FrameInfo
from edge_app.pipeline.lanes import FrameLanes


class Drops:
    def __init__(self) -> None:
        self.counts: Counter[tuple[str, DropReason]] = Counter()

    def captured(self, camera_id: str) -> None: ...

    def dropped(self, camera_id: str, reason: DropReason, count: int = 1) -> None:
        self.counts[camera_id, reason] += count


class CountingLease:
    pinned = False

    def __init__(self) -> None:
        self.released = 0

    def release(self) -> None:
        self.released += 1


def make_frame(camera_id: str, frame_id: int, *, age_s: float = 0.0) -> Frame:
    captured_ns = time.monotonic_ns() - int(age_s * 1e9)
    info = FrameInfo(camera_id, frame_id, captured_ns, time.time_ns(), 4, 2)
    return Frame(info, np.zeros((2, 4, 3), np.uint8), lease=CountingLease())


def released(frame: Frame) -> int:
    assert isinstance(frame.lease, CountingLease)
    return frame.lease.released


def make_lanes(drops: Drops | None = None, **live: bool) -> FrameLanes:
    return FrameLanes(live, max_age_s=1.0, counts=drops or Drops())


def ids(frames: list[Frame]) -> list[tuple[str, int]]:
    return [(frame.info.camera_id, frame.info.frame_id) for frame in frames]


def test_the_newest_frame_of_a_live_camera_wins() -> None:
    drops = Drops()
    lanes = make_lanes(drops, front=True)
    frames = [make_frame("front", number) for number in range(3)]
    for frame in frames:
        lanes.put(frame)
    assert ids(lanes.take(4, timeout_s=1, straggler_wait_s=0)) == [("front", 2)]
    assert drops.counts == {("front", DropReason.SUPERSEDED): 2}
    assert [released(frame) for frame in frames] == [1, 1, 0]


def test_a_fast_camera_cannot_push_out_a_slow_one() -> None:
    lanes = make_lanes(fast=True, slow=True)
    lanes.put(make_frame("slow", 0))
    for number in range(50):
        lanes.put(make_frame("fast", number))
    assert set(ids(lanes.take(2, timeout_s=1, straggler_wait_s=0))) == {("slow", 0), ("fast", 49)}


def test_cameras_take_turns_when_a_batch_is_too_small_for_all() -> None:
    lanes = make_lanes(a=True, b=True, c=True)
    served: Counter[str] = Counter()
    for number in range(30):
        for camera_id in "abc":
            lanes.put(make_frame(camera_id, number))
        served.update(frame.info.camera_id for frame in lanes.take(2, timeout_s=1, straggler_wait_s=0))
    assert served == {"a": 20, "b": 20, "c": 20}


def test_a_file_waits_for_room_and_loses_nothing() -> None:
    drops = Drops()
    lanes = make_lanes(drops, film=False)

    def play() -> None:
        for number in range(100):
            lanes.put(make_frame("film", number))
        lanes.finish("film")

    player = threading.Thread(target=play)
    player.start()
    received = [lanes.take(1, timeout_s=5, straggler_wait_s=0)[0].info.frame_id for _ in range(100)]
    player.join(10)
    with pytest.raises(ChannelClosed):
        lanes.take(1, timeout_s=5, straggler_wait_s=0)
    assert received == list(range(100))
    assert not drops.counts


def test_an_old_frame_of_a_live_camera_is_dropped_and_counted() -> None:
    drops = Drops()
    lanes = make_lanes(drops, front=True)
    frame = make_frame("front", 0, age_s=5)
    lanes.put(frame)
    assert lanes.take(1, timeout_s=1, straggler_wait_s=0) == []
    assert drops.counts == {("front", DropReason.TOO_OLD): 1}
    assert released(frame) == 1


def test_an_old_frame_of_a_file_is_kept() -> None:
    lanes = make_lanes(film=False)
    lanes.put(make_frame("film", 0, age_s=500))
    assert ids(lanes.take(1, timeout_s=1, straggler_wait_s=0)) == [("film", 0)]


def test_one_camera_alone_waits_for_nobody() -> None:
    lanes = make_lanes(front=True, absent=True)
    lanes.put(make_frame("front", 0))
    # A wait for the absent camera would last the whole minute and fail by the test's time limit.
    assert len(lanes.take(2, timeout_s=1, straggler_wait_s=60)) == 1


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def two_cameras_with_a_period_of(period_s: float) -> FrameLanes:
    """Two live cameras that have each sent two frames, both taken, and a third one of camera a."""
    clock = Clock()
    lanes = FrameLanes({"a": True, "b": True}, max_age_s=1.0, counts=Drops(), clock=clock)
    for number in range(2):
        lanes.put(make_frame("a", number))
        lanes.put(make_frame("b", number))
        assert len(lanes.take(2, timeout_s=1, straggler_wait_s=0)) == 2
        clock.now_s += period_s
    lanes.put(make_frame("a", 2))
    return lanes


def test_a_straggler_joins_the_batch() -> None:
    lanes = two_cameras_with_a_period_of(0.8)
    late = threading.Timer(0.05, lanes.put, [make_frame("b", 2)])
    late.start()
    taken = lanes.take(2, timeout_s=1, straggler_wait_s=30)
    late.join()
    assert set(ids(taken)) == {("a", 2), ("b", 2)}


def test_a_straggler_is_waited_for_no_longer_than_live_cameras_need_to_send_it() -> None:
    lanes = two_cameras_with_a_period_of(0.02)
    # A wait of the whole minute would fail by the test's time limit.
    assert ids(lanes.take(2, timeout_s=1, straggler_wait_s=60)) == [("a", 2)]


def test_nothing_within_the_time_is_an_empty_batch() -> None:
    assert make_lanes(front=True).take(1, timeout_s=0.01, straggler_wait_s=0) == []


def test_closing_releases_what_waits_and_refuses_more() -> None:
    drops = Drops()
    lanes = make_lanes(drops, front=True)
    waiting, late = make_frame("front", 0), make_frame("front", 1)
    lanes.put(waiting)
    lanes.close()
    with pytest.raises(ChannelClosed):
        lanes.put(late)
    with pytest.raises(ChannelClosed):
        lanes.take(1, timeout_s=1, straggler_wait_s=0)
    assert (released(waiting), released(late)) == (1, 1)
    assert drops.counts == {("front", DropReason.SHUTDOWN): 2}


def test_closing_wakes_a_file_that_waits_for_room() -> None:
    lanes = make_lanes(film=False)
    ended = threading.Event()

    def play() -> None:
        try:
            for number in range(100):
                lanes.put(make_frame("film", number))
        except ChannelClosed:
            ended.set()

    player = threading.Thread(target=play)
    player.start()
    lanes.close()
    assert ended.wait(10)
    player.join(10)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=80), st.integers(1, 3))
def test_every_frame_is_either_taken_or_counted(steps: list[tuple[str, bool]], batch: int) -> None:
    drops = Drops()
    lanes = make_lanes(drops, a=True, b=True, c=True)
    put, taken = 0, 0
    for camera_id, take in steps:
        lanes.put(make_frame(camera_id, put))
        put += 1
        if take:
            taken += len(lanes.take(batch, timeout_s=0, straggler_wait_s=0))
    lanes.close()
    assert taken + drops.counts.total() == put


def test_a_camera_that_comes_later_is_taken_in_turn() -> None:
    lanes = make_lanes(front=True)
    lanes.put(make_frame("front", 0))
    lanes.add("back", live=True)
    lanes.put(make_frame("back", 0))
    assert ids(lanes.take(4, timeout_s=1, straggler_wait_s=0)) == [("front", 0), ("back", 0)]


def test_a_camera_that_goes_leaves_no_frame_and_none_of_it_is_taken() -> None:
    drops = Drops()
    lanes = make_lanes(drops, front=True, back=True)
    waiting, late = make_frame("back", 0), make_frame("back", 1)
    lanes.put(waiting)
    lanes.put(make_frame("front", 0))
    lanes.remove("back")
    with pytest.raises(ChannelClosed):
        lanes.put(late)
    lanes.finish("back")  # of a reader that comes late
    assert (released(waiting), released(late)) == (1, 1)
    assert drops.counts == {("back", DropReason.SHUTDOWN): 2}
    assert ids(lanes.take(4, timeout_s=1, straggler_wait_s=0)) == [("front", 0)]


def test_of_a_camera_that_was_altered_only_new_frames_are_taken() -> None:
    drops = Drops()
    lanes = make_lanes(drops, front=True)
    before, late = make_frame("front", 6), make_frame("front", 7)
    lanes.put(before)
    lanes.add("front", live=True, first_frame_id=8)
    with pytest.raises(ChannelClosed):
        lanes.put(late)
    lanes.put(make_frame("front", 8))
    assert ids(lanes.take(4, timeout_s=1, straggler_wait_s=0)) == [("front", 8)]
    assert (released(before), released(late)) == (1, 1)
    assert drops.counts == {("front", DropReason.SHUTDOWN): 2}


@pytest.mark.parametrize("how", ["remove", "alter"])
def test_a_films_reader_that_waits_for_room_is_let_go_with_its_camera(how: str) -> None:
    lanes = make_lanes(film=False)
    closed = threading.Event()

    def play() -> None:
        try:
            for number in range(10):
                lanes.put(make_frame("film", number))
        except ChannelClosed:
            closed.set()

    reader = threading.Thread(target=play)
    reader.start()
    while lanes.ready == 0:
        time.sleep(0.01)
    time.sleep(0.05)
    if how == "remove":
        lanes.remove("film")
    else:
        lanes.add("film", live=False, first_frame_id=10)
    assert closed.wait(5)
    reader.join()
    assert lanes.ready == 0


def test_lanes_whose_cameras_have_all_finished_need_a_feeder_again_when_one_comes() -> None:
    lanes = make_lanes(film=False)
    assert not lanes.reopen(), "there is one"
    lanes.finish("film")
    with pytest.raises(ChannelClosed):
        lanes.take(1, timeout_s=0, straggler_wait_s=0)
    assert not lanes.reopen(), "and nothing for it to do"
    lanes.add("film", live=False, first_frame_id=3)
    assert lanes.reopen()
    assert not lanes.reopen()
    lanes.put(make_frame("film", 3))
    assert ids(lanes.take(1, timeout_s=0, straggler_wait_s=0)) == [("film", 3)]
    lanes.finish("film")
    with pytest.raises(ChannelClosed):
        lanes.take(1, timeout_s=0, straggler_wait_s=0)
    lanes.close()
    lanes.add("other", live=True)
    assert not lanes.reopen(), "they were closed"
