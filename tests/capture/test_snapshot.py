"""Snapshots: a copy of the next frame that passes."""

from __future__ import annotations

import threading
import time

import pytest

from edge_app.capture import snapshot as module
from edge_app.capture.snapshot import Shot, SnapshotTap
from edge_app.errors import BackendError
from edge_app.messages import Frame, FrameInfo, PixelFormat, Surface
from tests.brokers import until
from tests.capture.parts import RecordingSink, picture


def frame(number: int, camera_id: str = "yard", size: tuple[int, int] = (320, 240)) -> Frame:
    info = FrameInfo(camera_id, number, time.monotonic_ns(), time.time_ns(), *size)
    return Frame(info, picture(number, size))


def ask(tap: SnapshotTap, found: list[Shot | None], camera_id: str = "yard") -> threading.Thread:
    before = sum(map(len, tap._wishes.values()))
    thread = threading.Thread(target=lambda: found.append(tap.take(camera_id, 5.0)))
    thread.start()
    until(lambda: sum(map(len, tap._wishes.values())) > before, "somebody waits")
    return thread


def test_the_next_frame_is_copied_and_passed_on() -> None:
    sink, found = RecordingSink(), list[Shot | None]()
    tap = SnapshotTap(sink)
    tap.put(frame(1))
    waiting = [ask(tap, found), ask(tap, found)]
    tap.put(frame(2, "gate"))
    assert not found
    passing = frame(3)
    tap.put(passing)
    for thread in waiting:
        thread.join(5)
    assert [shot.info.frame_id for shot in found if shot] == [3, 3]
    assert found[0] is not None
    passing.array[:] = 0  # its memory is somebody else's by now
    assert found[0].pixels.mean() > 0
    assert not tap._wishes
    tap.put(frame(4))
    tap.finish("yard")
    assert [info.frame_id for info in sink.frames["yard"]] == [1, 3, 4]
    assert [info.frame_id for info in sink.frames["gate"]] == [2]
    assert sink.finished == {"yard"}


def test_where_no_frame_comes_there_is_none() -> None:
    tap = SnapshotTap(RecordingSink())
    assert tap.take("yard", 0.05) is None
    assert not tap._wishes


def test_once_it_is_closed_nobody_waits() -> None:
    tap, found = SnapshotTap(RecordingSink()), list[Shot | None]()
    waiting = ask(tap, found)
    began_s = time.monotonic()
    tap.close()
    waiting.join(5)
    assert tap.take("yard", 5.0) is None
    assert (found, time.monotonic() - began_s < 2) == ([None], True)
    tap.put(frame(1))


def test_a_frame_in_a_gpu_s_memory_is_fetched_and_one_that_cannot_be_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sink, found = RecordingSink(), list[Shot | None]()
    tap = SnapshotTap(sink)
    surface = Surface(0, 1, 2, 512)
    info = FrameInfo("yard", 1, 0, 0, 320, 240)
    fetched = picture(1, (320, 360))[..., 0]
    monkeypatch.setattr(module, "download", lambda *_: fetched)
    for _ in range(2):
        thread = ask(tap, found)
        tap.put(Frame(info, surface, PixelFormat.P016))
        thread.join(5)

        def fail(*_: object) -> None:
            raise BackendError("no context")

        monkeypatch.setattr(module, "download", fail)
    assert found[0] is not None
    assert found[0].pixels is fetched
    assert found[0].pixel_format is PixelFormat.NV12
    assert found[1] is None
    assert len(sink.frames["yard"]) == 2
    assert "camera yard: no snapshot" in caplog.text
