"""The supervisor, with sources that do what cameras do at their worst."""

from __future__ import annotations

import gc
import itertools
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from edge_app.capture import camera_watch
from edge_app.capture.attempt import Attempt, Camera
from edge_app.capture.camera_watch import MAX_ABANDONED_PER_CAMERA
from edge_app.capture.cameras import MAX_ABANDONED, CameraGroup
from edge_app.capture.frozen import SurfaceLooker
from edge_app.errors import CaptureError, EndOfStream
from edge_app.interfaces import Picture
from edge_app.messages import CameraState
from tests.capture.parts import RecordingObserver, RecordingSink, wait_until

Act = Callable[[], Picture | None]
CONNECTING, STREAMING, STALLED, LOST, ENDED = (
    CameraState.CONNECTING,
    CameraState.STREAMING,
    CameraState.STALLED,
    CameraState.LOST,
    CameraState.ENDED,
)
DISABLED = CameraState.DISABLED


class ActingSource:
    """A Source whose `open` and `read` do what they are given."""

    def __init__(self, read: Act, on_open: Callable[[], None] = lambda: None, *, live: bool = True) -> None:
        self._read = read
        self._on_open = on_open
        self.live = live
        self.decoder = "acting"
        self.closed = threading.Event()

    def open(self) -> None:
        self._on_open()

    def read(self, timeout_s: float) -> Picture | None:
        return self._read()

    def close(self) -> None:
        self.closed.set()


def still(size: tuple[int, int] = (32, 24)) -> Picture:
    return Picture(np.zeros((size[1], size[0], 3), np.uint8), time.monotonic_ns(), time.time_ns())


def streaming() -> Picture:
    time.sleep(0.005)
    return still()


def refuse() -> None:
    raise CaptureError("10.0.0.7:554 refuses connections")


def silence() -> None:
    time.sleep(0.01)


def until(event: threading.Event) -> Callable[[], None]:
    """An action that hangs until the event is set."""

    def wait() -> None:
        event.wait()

    return wait


def script(*steps: Act | BaseException) -> Act:
    """Do one step for each read; raise those that are errors; repeat the last one."""
    left = list(steps)

    def act() -> Picture | None:
        step = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(step, BaseException):
            raise step
        return step()

    return act


def camera(camera_id: str, *sources: ActingSource, **settings: object) -> Camera:
    """A camera whose connections use these sources in turn, the last one for ever."""
    left = list(sources)

    def create() -> ActingSource:
        return left.pop(0) if len(left) > 1 else left[0]

    made = Camera(
        camera_id,
        create,
        live=sources[0].live,
        stall_s=0.3,
        open_timeout_s=0.3,
        reconnect_min_s=0.05,
        reconnect_max_s=0.1,
    )
    return replace(made, **settings)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_watch, "LINGER_S", 0.1)
    monkeypatch.setattr("edge_app.capture.attempt.OPEN_GRACE_S", 0.1)
    monkeypatch.setattr("edge_app.capture.attempt.HANGS_AFTER_S", 0.2)


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """What hanging sources wait for; set at the end, so that their threads end too."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def run(
    sink: RecordingSink, observer: RecordingObserver, groups: list[CameraGroup]
) -> Callable[..., CameraGroup]:
    def start(*cameras: Camera, **options: int) -> CameraGroup:
        group = CameraGroup(cameras, sink, observer, **options)
        groups.append(group)
        group.start()
        return group

    return start


Run = Callable[..., CameraGroup]


def test_a_camera_connects_and_streams(run: Run, sink: RecordingSink, observer: RecordingObserver) -> None:
    group = run(camera("gate", ActingSource(streaming)))
    sink.wait_frames("gate", 20)
    _, status = observer.wait("gate", STREAMING)
    assert observer.states("gate") == [CONNECTING, STREAMING]
    assert (status.width, status.height, status.decoder, status.reason) == (32, 24, "acting", None)
    assert group.statuses()["gate"] == status


def test_frame_ids_count_up_by_one_across_connections(
    run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    broken = [ActingSource(script(still, still, still, CaptureError("gone"))) for _ in range(3)]
    run(camera("gate", *broken, ActingSource(streaming)))
    sink.wait_frames("gate", 20)
    assert [frame.frame_id for frame in sink.frames["gate"]] == list(range(len(sink.frames["gate"])))
    assert observer.seen[-1][1].reconnects == 3


def test_an_absent_camera_is_lost_with_its_reason_and_tried_for_ever(
    run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    refusing = [ActingSource(streaming, refuse) for _ in range(5)]
    run(camera("gate", *refusing, ActingSource(streaming)))
    observer.wait("gate", STREAMING)
    assert observer.states("gate") == [CONNECTING, LOST, STREAMING]
    assert observer.wait("gate", LOST)[1].reason == "10.0.0.7:554 refuses connections"
    assert all(source.closed.is_set() for source in refusing)


def test_each_change_is_one_line_of_the_log(
    run: Run, observer: RecordingObserver, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        refusing = [ActingSource(streaming, refuse) for _ in range(4)]
        run(camera("gate", *refusing, ActingSource(streaming)))
        observer.wait("gate", STREAMING)
    assert [record.getMessage() for record in caplog.records] == [
        "camera gate: connecting",
        "camera gate: lost: 10.0.0.7:554 refuses connections",
        "camera gate: streaming 32x24",
    ]


def test_a_silent_camera_is_stalled_and_opened_again(
    run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    frozen = ActingSource(script(still, still, silence))
    run(camera("gate", frozen, ActingSource(streaming)))
    observer.wait("gate", STALLED)
    sink.wait_frames("gate", 5)
    observer.wait("gate", STREAMING, after=3)
    assert observer.states("gate") == [CONNECTING, STREAMING, STALLED, STREAMING]
    assert observer.wait("gate", STALLED)[1].reason == "no picture for 0.3 s"
    assert frozen.closed.is_set()


def test_a_read_that_hangs_is_replaced_and_its_late_frames_are_thrown_away(
    run: Run, sink: RecordingSink, observer: RecordingObserver, hang: threading.Event
) -> None:
    late_size = (64, 64)

    def hang_then_deliver() -> Picture:
        hang.wait()
        return still(late_size)

    hanging = ActingSource(script(still, hang_then_deliver))
    run(camera("gate", hanging, ActingSource(streaming)))
    observer.wait("gate", STALLED)
    sink.wait_frames("gate", 10)
    hang.set()
    assert hanging.closed.wait(5)
    sink.wait_frames("gate", 10)
    frames = sink.frames["gate"]
    assert late_size not in {(frame.width, frame.height) for frame in frames}
    assert [frame.frame_id for frame in frames] == list(range(len(frames)))


def test_an_open_that_hangs_is_replaced(
    run: Run, sink: RecordingSink, observer: RecordingObserver, hang: threading.Event
) -> None:
    run(camera("gate", ActingSource(streaming, until(hang)), ActingSource(streaming)))
    assert observer.wait("gate", LOST)[1].reason == "no answer within 0.3 s"
    sink.wait_frames("gate", 5)


def test_a_close_that_hangs_does_not_keep_the_camera_away(
    run: Run, sink: RecordingSink, observer: RecordingObserver, hang: threading.Event
) -> None:
    clinging = ActingSource(script(still, CaptureError("gone")))
    clinging.close = until(hang)  # type: ignore[method-assign]
    run(camera("gate", clinging, ActingSource(streaming)))
    sink.wait_frames("gate", 5)
    observer.wait("gate", STREAMING, after=3)


def test_no_more_threads_are_abandoned_than_allowed(
    run: Run, sink: RecordingSink, observer: RecordingObserver, hang: threading.Event
) -> None:
    opened = []

    def hang_in_open() -> None:
        opened.append(1)
        hang.wait()

    run(camera("gate", ActingSource(streaming, hang_in_open)))

    def at_bound() -> bool:
        return any("of its readers have not ended" in (status.reason or "") for _, status in observer.seen)

    wait_until(at_bound)
    assert len(opened) == MAX_ABANDONED_PER_CAMERA
    hang.set()
    sink.wait_frames("gate", 5)


def test_the_bound_holds_for_all_cameras_together(
    run: Run,
    sink: RecordingSink,
    observer: RecordingObserver,
    hang: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge_app.capture.attempt.HANGS_AFTER_S", 0.05)

    def stuck() -> ActingSource:
        return ActingSource(streaming, until(hang))

    run(camera("a", stuck()), camera("b", stuck()), camera("good", ActingSource(streaming)), max_abandoned=2)
    wait_until(lambda: sum("readers" in (status.reason or "") for _, status in observer.seen) >= 2)
    capture_threads = [
        thread for thread in threading.enumerate() if thread.name in ("capture-a", "capture-b")
    ]
    assert len(capture_threads) <= 3
    sink.wait_frames("good", 5)


def test_many_cameras_that_close_slowly_do_not_hang(
    run: Run, sink: RecordingSink, observer: RecordingObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A switch that is restarted takes all cameras at once; each may need seconds to close."""
    monkeypatch.setattr("edge_app.capture.attempt.HANGS_AFTER_S", 5.0)
    names = [f"camera-{number}" for number in range(MAX_ABANDONED + 4)]
    cameras = []
    for name in names:
        fails = ActingSource(script(still, CaptureError("gone")))
        fails.close = lambda: time.sleep(0.5)  # type: ignore[method-assign]
        cameras.append(camera(name, fails, ActingSource(streaming)))
    run(*cameras)
    for name in names:
        sink.wait_frames(name, 5)
    reasons = {status.reason for _, status in observer.seen if status.reason}
    assert not any("ended" in reason for reason in reasons), reasons


def test_whatever_a_source_raises_is_a_lost_camera(
    run: Run, sink: RecordingSink, observer: RecordingObserver, caplog: pytest.LogCaptureFixture
) -> None:
    odd = ActingSource(script(still, ZeroDivisionError("rtsp://admin:c4n4ry@gate/1 divided")))
    run(camera("gate", odd, ActingSource(streaming), conceal=lambda text: text.replace("c4n4ry", "***")))
    _, status = observer.wait("gate", LOST)
    assert status.reason == "unexpected ZeroDivisionError: rtsp://admin:***@gate/1 divided"
    sink.wait_frames("gate", 5)
    assert "Traceback" in caplog.text
    assert "c4n4ry" not in caplog.text


def test_a_factory_that_fails_is_a_lost_camera(run: Run, observer: RecordingObserver) -> None:
    def fail() -> ActingSource:
        raise OSError(24, "Too many open files")

    run(Camera("gate", fail, live=True, reconnect_min_s=0.05, reconnect_max_s=0.1))
    assert "Too many open files" in (observer.wait("gate", LOST)[1].reason or "")


def test_a_bad_camera_does_not_disturb_the_others(
    run: Run, sink: RecordingSink, observer: RecordingObserver, hang: threading.Event
) -> None:
    run(
        camera("hangs", ActingSource(streaming, until(hang))),
        camera("refuses", ActingSource(streaming, refuse)),
        camera("freezes", ActingSource(script(still, silence))),
        camera("good", ActingSource(streaming)),
    )
    observer.wait("freezes", STALLED)
    observer.wait("hangs", LOST)
    observer.wait("refuses", LOST)
    sink.wait_frames("good", 50)
    assert observer.states("good") == [CONNECTING, STREAMING]


def test_a_change_of_size_is_reported_and_streaming_goes_on(
    run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    large = (64, 48)
    pictures = script(*[streaming] * 5, lambda: streaming() and still(large))
    run(camera("gate", ActingSource(pictures)))
    wait_until(lambda: any(status.width == 64 for _, status in observer.seen))
    assert observer.states("gate") == [CONNECTING, STREAMING, STREAMING]
    assert [frame.width for frame in sink.frames["gate"]][:6] == [32] * 5 + [64]


def test_pictures_of_a_folder_may_differ_in_size_without_being_news(
    run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    sizes = [(32, 24), (64, 48), (16, 12), (32, 24)]
    steps: list[Act] = [partial(still, size) for size in sizes]
    run(camera("folder", ActingSource(script(*steps, EndOfStream()), live=False)))
    sink.wait_finished("folder")
    assert observer.states("folder") == [CONNECTING, STREAMING, ENDED]
    assert [(frame.width, frame.height) for frame in sink.frames["folder"]] == sizes


def test_a_finite_source_ends_once_and_finishes_its_lane(
    run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    file = ActingSource(script(still, still, EndOfStream()), live=False)
    run(camera("file", file))
    sink.wait_finished("file")
    assert observer.states("file") == [CONNECTING, STREAMING, ENDED]
    assert (sink.count("file"), file.closed.is_set()) == (2, True)


def test_a_file_that_waits_for_its_turn_is_not_stalled(
    run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    begin_s = time.monotonic()
    paced = script(still, *[silence] * 60, EndOfStream())
    run(camera("file", ActingSource(paced, live=False)))
    sink.wait_finished("file")
    assert time.monotonic() - begin_s > 0.3
    assert STALLED not in observer.states("file")


def test_a_slow_consumer_does_not_stall_a_camera(run: Run, observer: RecordingObserver) -> None:
    class SlowSink(RecordingSink):
        def put(self, frame: object) -> None:
            time.sleep(0.5)

    slow = SlowSink()
    file = ActingSource(script(still, still, EndOfStream()), live=False)
    group = CameraGroup([camera("file", file)], slow, observer)
    group.start()
    slow.wait_finished("file")
    assert observer.states("file") == [CONNECTING, STREAMING, ENDED]
    group.stop(1.0)


def test_a_closed_sink_ends_the_readers(run: Run, sink: RecordingSink) -> None:
    source = ActingSource(streaming)
    run(camera("gate", source))
    sink.wait_frames("gate", 3)
    sink.closed = True
    assert source.closed.wait(5)


def test_an_observer_that_fails_is_logged_and_disturbs_nothing(
    sink: RecordingSink, groups: list[CameraGroup], caplog: pytest.LogCaptureFixture
) -> None:
    class Failing:
        def camera_changed(self, status: object) -> None:
            raise RuntimeError("no subscriber")

    groups.append(CameraGroup([camera("gate", ActingSource(streaming))], sink, Failing()))
    groups[0].start()
    sink.wait_frames("gate", 10)
    assert "its status could not be passed on" in caplog.text


def test_stopping_ends_the_threads(run: Run, sink: RecordingSink) -> None:
    sources = [ActingSource(streaming) for _ in range(4)]
    group = run(*(camera(f"camera{index}", source) for index, source in enumerate(sources)))
    for index in range(4):
        sink.wait_frames(f"camera{index}", 2)
    group.stop(5.0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("capture")]
    assert all(source.closed.is_set() for source in sources)


def test_stopping_does_not_wait_for_a_reader_that_hangs(
    run: Run, sink: RecordingSink, hang: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    group = run(camera("gate", ActingSource(script(still, until(hang))), stall_s=60.0))
    wait_until(lambda: sink.count("gate") == 1)
    begin_s = time.monotonic()
    group.stop(0.3)
    assert time.monotonic() - begin_s < 5
    assert "its reader hangs and is left behind" in caplog.text
    count = sink.count("gate")
    hang.set()
    assert sink.count("gate") == count


def test_a_group_that_never_started_can_be_stopped(sink: RecordingSink, observer: RecordingObserver) -> None:
    group = CameraGroup([camera("gate", ActingSource(streaming))], sink, observer)
    group.stop(0.1)
    assert group.statuses()["gate"].state is CONNECTING


def test_a_camera_that_is_disabled_rests_until_it_is_enabled(
    run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    sources = [ActingSource(streaming), ActingSource(streaming)]
    group = run(camera("gate", *sources), camera("yard", ActingSource(streaming)))
    sink.wait_frames("gate", 5)
    group.switch("gate", enabled=False)
    _, status = observer.wait("gate", DISABLED)
    assert status.reason == "a command disabled it"
    assert sources[0].closed.wait(5)
    count = sink.count("gate")
    sink.wait_frames("yard", 20)
    assert sink.count("gate") == count
    group.switch("gate", enabled=True)
    sink.wait_frames("gate", 5)
    assert observer.states("gate") == [CONNECTING, STREAMING, DISABLED, CONNECTING, STREAMING]
    assert [frame.frame_id for frame in sink.frames["gate"]] == list(range(sink.count("gate")))


def test_a_lost_camera_that_is_disabled_is_tried_no_more(run: Run, observer: RecordingObserver) -> None:
    attempts: list[float] = []

    def absent() -> None:
        attempts.append(time.monotonic())
        refuse()

    group = run(camera("gate", ActingSource(streaming, absent)))
    observer.wait("gate", LOST)
    group.switch("gate", enabled=False)
    observer.wait("gate", DISABLED)
    before = len(attempts)
    time.sleep(0.4)
    assert len(attempts) <= before + 1  # one may have been on its way


def test_an_ended_or_unknown_camera_cannot_be_switched(run: Run, sink: RecordingSink) -> None:
    group = run(camera("film", ActingSource(script(still, EndOfStream()), live=False)))
    sink.wait_finished("film")
    wait_until(lambda: group._watches["film"].through)
    with pytest.raises(EndOfStream):
        group.switch("film", enabled=False)
    with pytest.raises(KeyError):
        group.switch("other", enabled=False)


def test_stopping_while_a_camera_is_disabled(
    run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    group = run(camera("gate", ActingSource(streaming)))
    sink.wait_frames("gate", 5)
    group.switch("gate", enabled=False)
    observer.wait("gate", DISABLED)
    group.stop(2.0)
    assert not group._supervisor.is_alive()


def test_a_camera_comes_goes_and_comes_back_and_its_frames_go_on_being_counted(
    run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    group = run(camera("a", ActingSource(streaming)))
    sink.wait_frames("a", 3)
    group.add(camera("b", ActingSource(streaming)))
    sink.wait_frames("b", 3)
    next_id = group.let_go("b")
    told = len(observer.seen)
    count = sink.count("b")
    assert next_id == count
    assert set(group.statuses()) == {"a"}
    sink.wait_frames("a", 20)
    assert sink.count("b") == count
    assert not [status for _, status in observer.seen[told:] if status.camera_id == "b"]
    assert group.next_frame_id("b") == next_id
    with pytest.raises(KeyError):
        group.let_go("b")
    group.add(camera("b", ActingSource(streaming)))
    sink.wait_frames("b", 3)
    for name in "ab":
        ids = [frame.frame_id for frame in sink.frames[name]]
        assert ids == list(range(len(ids)))


def test_the_device_of_an_altered_camera_is_opened_when_its_reader_has_closed_it(
    run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    slow = threading.Event()

    class Slow(ActingSource):
        def close(self) -> None:
            time.sleep(0.05)
            super().close()
            slow.set()

    opened_early: list[bool] = []
    group = run(camera("a", Slow(streaming)))
    sink.wait_frames("a", 3)
    group.let_go("a")
    group.add(camera("a", ActingSource(streaming, lambda: opened_early.append(not slow.is_set()))))
    sink.wait_frames("a", 3)
    assert opened_early == [False]
    _, status = observer.wait("a", STREAMING, after=len(observer.seen) - 1)
    assert status.reconnects == 1


def test_the_counts_of_an_altered_camera_never_fall(
    run: Run, sink: RecordingSink, observer: RecordingObserver, hang: threading.Event
) -> None:
    breaks = ActingSource(script(still, CaptureError("it hung up")))
    group = run(camera("a", breaks, ActingSource(streaming), fallbacks=lambda: 2))
    wait_until(lambda: group.statuses()["a"].reconnects == 1)
    sink.wait_frames("a", 3)
    group.let_go("a")
    told = len(observer.seen)
    group.add(camera("a", ActingSource(streaming, until(hang)), open_timeout_s=60.0, fallbacks=lambda: 1))
    status = group.statuses()["a"]
    assert (status.reconnects, status.decoder_fallbacks) == (1, 2)
    _, status = observer.wait("a", CONNECTING, after=told)
    assert (status.reconnects, status.decoder_fallbacks) == (1, 2)
    hang.set()
    _, status = observer.wait("a", STREAMING, after=told)
    assert (status.reconnects, status.decoder_fallbacks) == (2, 3)


class Pool:
    """Stands for the memory of a camera's frames."""


def with_pool(camera_id: str, close: Callable[[], None]) -> tuple[Camera, weakref.ref[Pool]]:
    """Return a camera that streams and closes so, and what tells whether its memory is still held."""
    pool = Pool()

    def create(pool: Pool = pool) -> ActingSource:
        source = ActingSource(streaming)
        source.close = close  # type: ignore[method-assign]
        return source

    return replace(camera(camera_id, ActingSource(streaming)), create_source=create), weakref.ref(pool)


@pytest.mark.parametrize("comes_back", [True, False])
def test_nothing_is_held_of_a_camera_whose_reader_has_ended(
    run: Run, sink: RecordingSink, hang: threading.Event, comes_back: bool
) -> None:
    made, pool = with_pool("a", until(hang))
    group = run(made)
    del made
    sink.wait_frames("a", 3)
    group.let_go("a")
    if comes_back:
        group.add(camera("a", ActingSource(streaming), stall_s=60.0))  # no other reconnect helps
        sink.wait_frames("a", 3)
    hang.set()

    def freed() -> bool:
        gc.collect()
        return pool() is None

    wait_until(freed)


def test_a_reader_that_hangs_does_not_keep_an_altered_camera_away_and_counts_as_abandoned(
    run: Run, sink: RecordingSink, hang: threading.Event
) -> None:
    stuck = ActingSource(until(hang))
    group = run(camera("a", stuck, stall_s=60.0))
    wait_until(lambda: group._watches["a"].lives)
    for _ in range(MAX_ABANDONED_PER_CAMERA - 1):
        group.let_go("a")
        group.add(camera("a", stuck, stall_s=60.0))
        wait_until(lambda: group._watches["a"]._attempt is not None)
    group.let_go("a")
    group.add(camera("a", ActingSource(streaming)))
    wait_until(lambda: group.statuses()["a"].state is LOST)
    assert "3 of its readers have not ended" in (group.statuses()["a"].reason or "")
    hang.set()
    sink.wait_frames("a", 3)


def test_a_disabled_camera_stays_disabled_when_it_is_altered(
    run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    group = run(camera("a", ActingSource(streaming)))
    sink.wait_frames("a", 3)
    group.switch("a", enabled=False)
    observer.wait("a", CameraState.DISABLED)
    group.let_go("a")
    told, count = len(observer.seen), sink.count("a")
    group.add(camera("a", ActingSource(streaming)))
    observer.wait("a", CameraState.DISABLED, after=told)
    assert sink.count("a") == count
    group.switch("a", enabled=True)
    sink.wait_frames("a", 3)


def test_a_disabled_camera_stays_disabled_when_all_cameras_are_let_go_before_any_comes_back(
    run: Run, sink: RecordingSink, observer: RecordingObserver
) -> None:
    group = run(camera("a", ActingSource(streaming)), camera("b", ActingSource(streaming)))
    sink.wait_frames("a", 3)
    group.switch("a", enabled=False)
    observer.wait("a", CameraState.DISABLED)
    wait_until(lambda: not group._watches["a"].lives)
    for name in "ab":  # as a change of the transport does
        group.let_go(name)
    told, count = len(observer.seen), sink.count("a")
    for name in "ab":
        group.add(camera(name, ActingSource(streaming)))
    sink.wait_frames("b", 20)
    observer.wait("a", CameraState.DISABLED, after=told)
    assert sink.count("a") == count
    group.switch("a", enabled=True)
    sink.wait_frames("a", 3)


@pytest.mark.parametrize("reader_first", [True, False])
def test_what_stood_still_is_forgiven_and_a_hang_afterwards_is_not(
    hang: threading.Event, monkeypatch: pytest.MonkeyPatch, reader_first: bool
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("edge_app.capture.attempt.time", SimpleNamespace(monotonic=lambda: now_s))
    watched = camera("a", ActingSource(streaming), stall_s=8.0)
    attempt = Attempt(watched, RecordingSink(), itertools.count(), hang.set, SurfaceLooker())
    attempt.opened = True
    now_s += 5.0  # of silence
    now_s += 3600.0  # the process stood still
    if reader_first:
        attempt._alive()
    attempt.forgive(3600.0)
    assert attempt.overdue_at_s == now_s + (8.0 if reader_first else 3.0)
    attempt._alive()
    assert attempt.overdue_at_s == now_s + 8.0
    attempt.waiting_since_s = None
    attempt.forgive(3600.0)
    assert attempt.overdue_at_s == float("inf"), "it is not the source that is waited for"
