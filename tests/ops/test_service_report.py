"""When a service is ready, and what its status says."""

from __future__ import annotations

import os

import pytest

from edge_app.messages import CameraState
from edge_app.ops.service_report import (
    READY_GRACE_S,
    STATUS_EVERY_S,
    ServiceReport,
    ServiceState,
    watchdog_interval_s,
)

LOST, STREAMING, CONNECTING = CameraState.LOST, CameraState.STREAMING, CameraState.CONNECTING


def state(processed: int = 0, **cameras: CameraState) -> ServiceState:
    return ServiceState(processed, 0.0, cameras)


@pytest.mark.parametrize(
    ("now", "waited_s", "ready"),
    [
        (state(1, yard=STREAMING), 0.0, True),
        (state(0, yard=STREAMING), READY_GRACE_S * 10, False),
        (state(0, yard=STREAMING, door=LOST), READY_GRACE_S * 10, False),
        (state(0, yard=CONNECTING, door=LOST), READY_GRACE_S - 0.1, False),
        (state(0, yard=CONNECTING, door=LOST), READY_GRACE_S, True),
    ],
)
def test_a_stream_without_inferred_frames_is_not_ready(
    now: ServiceState, waited_s: float, ready: bool
) -> None:
    assert (now.reason_to_be_ready(waited_s) is not None) is ready


def test_the_status_names_cameras_that_are_away_and_what_waits() -> None:
    now = ServiceState(9, 12.34, {"yard": STREAMING, "door": LOST}, outbox_messages=7, outbox_oldest_s=61.2)
    assert str(now) == (
        "1 of 2 cameras, 12.3 frames/s; 7 messages in the outbox, the oldest for 61 s; door lost"
    )


def test_a_status_of_very_many_cameras_stays_a_line() -> None:
    now = ServiceState(9, 1.0, {f"a-camera-with-a-long-name-{i}": LOST for i in range(50)})
    assert len(str(now)) == 300


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []

    def notify(*words: str) -> bool:
        heard.extend(words)
        return True

    monkeypatch.setattr("edge_app.ops.service_report.notify", notify)
    return heard


def test_a_daemon_that_is_not_alive_tells_no_watchdog(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    now_s, alive = 100.0, True
    report = ServiceReport(lambda: state(1, yard=STREAMING), lambda: alive, lambda: now_s)
    report.step()
    assert told == ["READY=1", "STATUS=1 of 1 cameras, 0.0 frames/s", "WATCHDOG=1"]
    now_s += STATUS_EVERY_S - 0.1
    report.step()
    assert len(told) == 3
    now_s += 10
    report.step()
    assert told[3:] == ["STATUS=1 of 1 cameras, 0.0 frames/s", "WATCHDOG=1"]
    alive = False
    now_s += 60
    report.step()
    assert told[5:] == ["STATUS=1 of 1 cameras, 0.0 frames/s"]


def test_once_it_is_ready_the_state_is_asked_for_the_status_alone(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    now_s, asked_at_s = 0.0, list[float]()

    def asked() -> ServiceState:
        asked_at_s.append(now_s)
        return state(1 if now_s >= 1 else 0, yard=STREAMING)

    report = ServiceReport(asked, lambda: True, lambda: now_s)
    while now_s < 12:
        report.step()
        now_s += 0.5
    assert asked_at_s == [0.0, 0.5, 1.0, 6.0, 11.0]
    assert told.count("WATCHDOG=1") == 12


def test_a_reload_that_ends_after_the_daemons_last_word_is_not_told(told: list[str]) -> None:
    report = ServiceReport(lambda: state(1, yard=STREAMING), lambda: True)
    report.step()
    report.reloading()
    assert told[2] == "RELOADING=1"
    report.last_word("stage 'feeder' hangs")
    told.append("STOPPING=1")
    report.reloaded("camera door added")
    report.reloading()
    assert told[4:] == ["STATUS=stage 'feeder' hangs", "STOPPING=1"]


def test_ready_is_told_until_somebody_has_heard_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, ...]] = []
    hears, now_s = False, 100.0

    def notify(*words: str) -> bool:
        told.append(words)
        return hears

    monkeypatch.setattr("edge_app.ops.service_report.notify", notify)
    report = ServiceReport(lambda: state(1, yard=STREAMING), lambda: True, lambda: now_s)

    def ready_after_a_step() -> bool:
        told.clear()
        report.step()
        return any("READY=1" in words for words in told)

    assert ready_after_a_step()
    assert ready_after_a_step(), "nobody has heard it"
    hears = True
    assert ready_after_a_step()
    assert not ready_after_a_step()
    hears = False
    report.reloaded("camera door added")
    hears = True
    assert ready_after_a_step(), "that the reload is over was not heard"
    assert not ready_after_a_step()


def test_ready_that_is_owed_does_not_end_a_reload_that_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    hears = False

    def notify(*words: str) -> bool:
        told.extend(words)
        return hears

    monkeypatch.setattr("edge_app.ops.service_report.notify", notify)
    report = ServiceReport(lambda: state(1, yard=STREAMING), lambda: True)
    report.step()
    hears = True
    report.reloading()
    told.clear()
    report.step()
    assert "READY=1" not in told
    report.reloaded("nothing altered")
    assert told[-2:] == ["READY=1", "STATUS=reloaded: nothing altered"]


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [("30000000", "", 10.0), ("30000000", "ours", 10.0), ("30000000", "1", None), ("", "", None)],
)
def test_the_watchdog_belongs_to_the_process_it_is_meant_for(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "ours" else pid)
    assert watchdog_interval_s() == seconds
