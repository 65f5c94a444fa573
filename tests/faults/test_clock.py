"""A clock on the wall that is stepped by a day: order, ages and what is said of the clock stay right."""

from __future__ import annotations

import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.e2e import daemon as daemon_module
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemon import BASE
from tests.faults.proxy import Proxy
from tests.faults.stepped_clock import set_clock
from tests.publish.parts import Parts, Recorder

pytestmark = [pytest.mark.broker, needs_mosquitto]

DAY_S = 86400.0
DETECTIONS = f"{BASE}/camera/yard/detections"
STREET = "scene://street?seed=1&size=320x192&fps=10"


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What steps the clock of the daemons of this test."""
    file = tmp_path / "clock"
    set_clock(file, 0.0, synced=True)
    stepped = [sys.executable, "-m", "tests.faults.stepped_clock", str(file)]
    monkeypatch.setattr(daemon_module, "command", lambda *arguments: [*stepped, *map(str, arguments)])
    return file


def messages(judge: Recorder) -> list[dict[str, Any]]:
    return judge.on(DETECTIONS)


def until_new(judge: Recorder, count: int) -> list[dict[str, Any]]:
    """Wait for so many new messages and return them."""
    before = len(messages(judge))
    until(lambda: len(messages(judge)) >= before + count, f"{count} new messages", 30)
    return messages(judge)[before:]


def wrong_s(message: dict[str, Any]) -> float:
    made = datetime.fromisoformat(message["published_at"].replace("Z", "+00:00"))
    return (made - datetime.now(timezone.utc)).total_seconds()


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
def test_a_clock_that_is_stepped_by_a_day(
    start: StartDaemon,
    broker: Mosquitto,
    proxy: Proxy,
    parts: Parts,
    clock: Path,
    tmp_path: Path,
    step_s: float,
) -> None:
    judge = parts.recorder(broker.uri)
    outbox = {"directory": str(tmp_path / "outbox"), "max_age_s": 3600.0}
    mqtt = {"delivery": {"detections": "durable"}, "outbox": outbox}
    daemon = start(proxy.uri, {"yard": STREET}, mqtt=mqtt)
    assert until_new(judge, 10)[-1]["clock_synced"] is True

    # The broker goes away, the clock is stepped and is not synchronised any more, the broker comes back.
    proxy.away = True
    proxy.cut()
    time.sleep(1.0)
    set_clock(clock, step_s, synced=False)
    time.sleep(1.0)
    proxy.away = False
    until(lambda: abs(wrong_s(messages(judge)[-1]) - step_s) < 5, "what was made after the step comes", 30)
    stepped = [message for message in messages(judge) if abs(wrong_s(message) - step_s) < 60]
    assert {message["clock_synced"] for message in stepped} == {False}

    # It is set right, in both senses, while everything works.
    set_clock(clock, 0.0, synced=True)
    until(lambda: messages(judge)[-1]["clock_synced"] is True, "it is told", 10)
    assert abs(wrong_s(until_new(judge, 5)[-1])) < 5
    health = judge.on(f"{BASE}/health")[-1]
    assert health["outbox"]["problem"] is None
    frames_only = {"superseded", "too_old"}  # a busy machine; no message is dropped
    assert set(health["cameras"]["yard"]["dropped"]) <= frames_only
    assert daemon.stop() == 0

    seen = messages(judge)
    numbers = [message["seq"] for message in seen]
    assert list(dict.fromkeys(numbers)) == list(range(max(numbers) + 1))  # all of them, in order
    once = list({message["id"]: None for message in seen})
    assert once == sorted(once)  # ids sort by the order of their making, also when time goes back
    assert all(0 < message["latency_ms"]["total"] < 5000 for message in seen)
