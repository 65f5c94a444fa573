"""Who hears what of a build, and how often."""

import logging
import socket
from pathlib import Path

import pytest

from edge_app.app.build_watch import BuildWatch
from edge_app.engine.events import BuildEvent, EventKind


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def watch(clock: Clock, told: list[str], monkeypatch: pytest.MonkeyPatch) -> BuildWatch:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    return BuildWatch("demo", told.append, clock)


def progress(percent: float | None, text: str = "building") -> BuildEvent:
    return BuildEvent(EventKind.PROGRESS, text, 12.0, percent)


def test_the_status_hears_at_most_one_word_in_two_seconds(
    watch: BuildWatch, clock: Clock, told: list[str]
) -> None:
    for percent in range(10, 50):
        watch(progress(percent))
        clock.now_s += 0.25
    assert told == [f"building the engine of demo: {percent} %" for percent in (10, 18, 26, 34, 42)]


def test_without_a_percentage_the_doing_is_named(watch: BuildWatch, clock: Clock, told: list[str]) -> None:
    watch(progress(None, "collecting frames to calibrate with, 12"))
    clock.now_s += 5
    watch(progress(43))
    clock.now_s += 5
    watch(progress(None, "still building"))
    watch(BuildEvent(EventKind.RESULT, "the engine is built", 30.0, 100.0))
    clock.now_s += 5
    watch(BuildEvent(EventKind.PHASE, "verifying the engine"))
    assert [reason.partition(": ")[2] for reason in told] == [
        "collecting frames to calibrate with, 12",
        "43 %",
        "43 %",
        "verifying the engine",
    ]


def test_the_log_hears_of_phases_and_every_ten_seconds(
    watch: BuildWatch, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edge_app.app.build_watch")
    watch(BuildEvent(EventKind.PHASE, "reading the model", 7.4, 5.0))
    for percent in range(10, 31):
        watch(progress(percent))
        clock.now_s += 1.0
    watch(BuildEvent(EventKind.NOTE, "19 of 281 layers are bound to FP32"))
    watch(BuildEvent(EventKind.RESULT, "the engine is built", 29.2, 100.0))
    assert [record.getMessage() for record in caplog.records] == [
        "engine of demo: reading the model (5 %), 7 s",
        "engine of demo: building (20 %), 12 s",
        "engine of demo: building (30 %), 12 s",
        "engine of demo: 19 of 281 layers are bound to FP32",
        "engine of demo: built in 29.2 s",
    ]


def test_what_tensorrt_complains_of_is_a_warning(watch: BuildWatch, caplog: pytest.LogCaptureFixture) -> None:
    watch(BuildEvent(EventKind.LOG, "INT64 weights", data={"severity": "warning"}))
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "TensorRT: INT64 weights")


def test_the_service_manager_gives_more_time(
    watch: BuildWatch, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        watch(progress(43))
        watch(progress(44))
        clock.now_s += 2
        watch(progress(45))
        heard = [manager.recv(4096).decode() for _ in range(2)]
    assert heard == [
        f"STATUS=building the engine of demo: {percent} %\nEXTEND_TIMEOUT_USEC=90000000"
        for percent in (43, 45)
    ]
