"""The same picture for ever is a frozen camera; noise, and what moves, is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_app.capture import frozen
from edge_app.capture.attempt import Camera
from edge_app.capture.cameras import CameraGroup
from edge_app.capture.frozen import LOOKS, FrozenWatch, SharedLease, SurfaceLooker, fingerprint, look_at
from edge_app.errors import BackendError
from edge_app.interfaces import Picture
from edge_app.messages import CameraState, PixelFormat, Surface
from edge_app.scene import StreetScene
from tests.capture.parts import RecordingObserver, RecordingSink, wait_until

FROZEN_S = 60.0
SIZE = (640, 360)
Image = NDArray[np.uint8]


def street(index: int = 0) -> Image:
    return StreetScene(seed=3, width=SIZE[0], height=SIZE[1], fps=10).render(index)


class Minutes:
    """A watch whose time passes as pictures are shown."""

    def __init__(self, frozen_s: float = FROZEN_S) -> None:
        self.now_s = 5.0
        self.changes = 0
        self.watch = FrozenWatch(frozen_s, self.changed, lambda: self.now_s)

    def changed(self) -> None:
        self.changes += 1

    def frozen(self) -> bool:
        return self.watch.frozen

    def show(self, picture: Callable[[int], Image], seconds: float, fps: float = 5.0) -> None:
        for index in range(round(seconds * fps)):
            self.now_s += 1 / fps
            if self.watch.due:
                self.watch.looks()
                self.watch.saw(fingerprint(picture(index)[:: frozen.STEP_PX]))


def test_the_same_picture_is_frozen_after_its_time_and_no_more_when_it_changes() -> None:
    minutes, still = Minutes(), street()
    minutes.show(lambda _: still, FROZEN_S - 6)
    assert not minutes.frozen()
    minutes.show(lambda _: still, 12)
    assert minutes.frozen()
    other = street(7)
    minutes.show(lambda _: other, 6)
    assert not minutes.frozen()
    assert minutes.changes == 2


@pytest.mark.parametrize("level", [1, 2, 8])
def test_the_noise_of_a_sensor_is_not_frozen(level: int) -> None:
    """A scene without any motion, and one step of noise in every hundredth sample."""
    still, random = street().astype(np.int16), np.random.default_rng(1)

    def noisy(_: int) -> Image:
        noise = random.integers(-level, level + 1, still.shape) * (random.random(still.shape) < 0.01)
        return (still + noise).clip(0, 255).astype(np.uint8)

    minutes = Minutes()
    minutes.show(noisy, 5 * FROZEN_S, fps=0.2)
    assert not minutes.frozen()


def test_a_rendered_street_is_not_frozen() -> None:
    scene = StreetScene(seed=1, width=SIZE[0], height=SIZE[1], fps=1)
    minutes = Minutes()
    minutes.show(scene.render, 2 * FROZEN_S, fps=0.2)
    assert not minutes.frozen()


def test_few_pictures_far_apart_are_not_many() -> None:
    minutes, still = Minutes(), street()
    minutes.show(lambda _: still, 3 * 40, fps=1 / 40)
    assert not minutes.frozen()
    minutes.show(lambda _: still, 3 * 40, fps=1 / 40)
    assert minutes.frozen()


def test_it_looks_a_few_times_within_its_time_and_not_at_every_picture() -> None:
    minutes, still = Minutes(8.0), street()
    looked = []
    minutes.show(lambda index: looked.append(index) or still, 8.0, fps=100)  # type: ignore[func-returns-value]
    assert LOOKS <= len(looked) <= LOOKS + 1


class Lease:
    pinned = True

    def __init__(self) -> None:
        self.released = 0

    def release(self) -> None:
        self.released += 1

    def count(self) -> int:
        return self.released


def test_a_shared_lease_is_given_back_by_its_last_holder_once() -> None:
    lease = Lease()
    first, second = SharedLease.split(lease)
    assert first.pinned
    first.release()
    first.release()
    assert lease.count() == 0
    second.release()
    second.release()
    assert lease.count() == 1


SURFACE = Surface(0, 4096, 8192, 256)


def on_gpu(lease: Lease) -> Picture:
    return Picture(SURFACE, 0, 0, lease=lease, pixel_format=PixelFormat.NV12, size=(256, 64))


def test_a_picture_in_a_gpu_is_looked_at_elsewhere_and_its_lease_waits_for_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_go_on, threads = threading.Event(), []

    def rows(surface: Surface, size: tuple[int, int], pixel_format: PixelFormat, step: int) -> Image:
        assert (surface, size, pixel_format, step) == (SURFACE, (256, 64), PixelFormat.NV12, frozen.STEP_PX)
        threads.append(threading.current_thread().name)
        may_go_on.wait(10)
        return np.ones((8, 256), np.uint8)

    monkeypatch.setattr(frozen, "download_rows", rows)
    looker, watch, lease = SurfaceLooker(), FrozenWatch(60, lambda: None), Lease()
    passed_on = look_at(on_gpu(lease), watch, looker)
    assert passed_on.lease is not None
    passed_on.lease.release()
    busy = Lease()
    assert look_at(on_gpu(busy), watch, looker).lease is busy, "one that is busy holds up nothing"
    assert lease.count() == 0
    may_go_on.set()
    deadline_s = time.monotonic() + 5
    while not lease.count() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert lease.count() == 1
    assert busy.count() == 0
    looker.stop()
    assert threads == ["frozen-look"]


def test_a_gpu_that_fails_tells_nothing_of_its_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(*_: object) -> Image:
        raise BackendError("CUDA error 700")

    monkeypatch.setattr(frozen, "download_rows", rows)
    looker, watch, lease = SurfaceLooker(), FrozenWatch(60, lambda: None), Lease()
    passed_on = look_at(on_gpu(lease), watch, looker)
    assert passed_on.lease is not None
    passed_on.lease.release()
    deadline_s = time.monotonic() + 5
    while not lease.count() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    looker.stop()
    assert lease.count() == 1
    assert not watch.frozen


def test_whatever_goes_wrong_the_next_picture_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [MemoryError(), RuntimeError("never seen before")]

    def rows(*_: object) -> Image:
        if failures:
            raise failures.pop()
        return street()[::8]

    monkeypatch.setattr(frozen, "download_rows", rows)
    looker, seen, leases = SurfaceLooker(), threading.Event(), [Lease() for _ in range(3)]
    for lease in leases:
        picture = on_gpu(lease)
        assert isinstance(picture.pixels, Surface)
        surface = picture.pixels
        wait_until(lambda p=picture, s=surface: looker.look(p, s, lambda _: seen.set()))  # type: ignore[misc]
    assert seen.wait(5)
    looker.stop()
    wait_until(lambda: all(lease.count() == 1 for lease in leases))


class Showing:
    """A live source that shows what it is told to."""

    live, decoder = True, "showing"

    def __init__(self, picture: Callable[[], Image]) -> None:
        self._picture = picture

    def open(self) -> None: ...

    def read(self, timeout_s: float) -> Picture:
        time.sleep(0.01)
        return Picture(self._picture(), time.monotonic_ns(), time.time_ns())

    def close(self) -> None: ...


def test_a_frozen_camera_is_told_and_read_on_and_a_noisy_one_is_not(
    sink: RecordingSink, observer: RecordingObserver, groups: list[CameraGroup]
) -> None:
    moving, random = threading.Event(), np.random.default_rng(2)
    shown = street()

    def stuck() -> Image:
        return random.integers(0, 255, shown.shape, np.uint8) if moving.is_set() else shown

    def noisy() -> Image:
        noise: Image = (random.random(shown.shape) < 0.01).astype(np.uint8)
        return shown ^ noise

    cameras = [
        Camera("stuck", lambda: Showing(stuck), live=True, frozen_s=1.0),
        Camera("noisy", lambda: Showing(noisy), live=True, frozen_s=1.0),
        Camera("film", lambda: Showing(stuck), live=False, frozen_s=1.0),
        Camera("trusted", lambda: Showing(stuck), live=True, frozen_s=None),
    ]
    groups.append(CameraGroup(cameras, sink, observer))
    groups[0].start()
    _, status = observer.wait("stuck", CameraState.FROZEN)
    assert status.reason == "the same picture for 1 s; its frames go on to be looked at"
    sink.wait_frames("stuck", 10)
    moving.set()
    observer.wait("stuck", CameraState.STREAMING, after=len(observer.seen) - 1)
    ids = [frame.frame_id for frame in sink.frames["stuck"]]
    assert ids == list(range(len(ids))), "it was not connected to again"
    for other in ("noisy", "film", "trusted"):
        assert CameraState.FROZEN not in observer.states(other)
