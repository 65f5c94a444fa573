"""Memory runs out in the control group of the daemon: it says so, works on, and is not the one that ends."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import StartDaemon
from tests.e2e.daemon import Daemon
from tests.e2e.scrape import Watcher
from tests.faults.memory_group import Hog, MemoryGroup
from tests.soak.small_model import small_model

logger = logging.getLogger(__name__)

MIB = 1 << 20
ROOM_MIB = 400
LEFT_MIB = 12
"""Of some 600 MiB: below 5 %."""
NOTICED_WITHIN_S, BACK_WITHIN_S = 10.0, 20.0
FPS = 5
CAMERAS = {f"scene-{seed}": f"scene://street?seed={seed}&size=160x96&fps={FPS}" for seed in (1, 2)}


@pytest.fixture
def group(tmp_path: Path) -> Iterator[MemoryGroup]:
    made = MemoryGroup(f"edge-app-test-{time.time_ns()}")
    yield made
    made.close()


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def daemon(group: MemoryGroup, start: StartDaemon, watcher: Watcher, tmp_path: Path) -> Daemon:
    """Runs in the group, which leaves it a little more than it needs."""
    pytest.importorskip("onnx")
    model = {"path": str(small_model(tmp_path))}
    with group.inside():
        daemon = start(None, CAMERAS, metrics=watcher.section, model=model)
    for camera in CAMERAS:
        daemon.until_log_says(f"camera {camera}: streaming")
    time.sleep(2.0)
    group.limit(group.used_bytes() + ROOM_MIB * MIB)
    return daemon


@pytest.fixture
def hog(group: MemoryGroup, daemon: Daemon) -> Iterator[Hog]:
    with group.inside():
        hog = Hog()
    yield hog
    hog.end()
    daemon.kill()


def processed(watcher: Watcher) -> float:
    found = [watcher.value("edge_app_frames_processed_total", camera=camera) or 0.0 for camera in CAMERAS]
    return min(found)


def seconds_until_node_is(state: str, watcher: Watcher, at_most_s: float) -> float:
    began_s = time.monotonic()
    while watcher.probe("/healthz")[1].get("node") != state:
        assert time.monotonic() - began_s < at_most_s, watcher.probe("/healthz")
        time.sleep(0.05)
    return time.monotonic() - began_s


def test_it_is_told_and_taken_back(group: MemoryGroup, daemon: Daemon, hog: Hog, watcher: Watcher) -> None:
    assert watcher.probe("/healthz")[1]["node"] == "online"
    limit = max(group.used_bytes(), 1) + ROOM_MIB * MIB
    group.limit(limit)
    before, began_s = processed(watcher), time.monotonic()
    hog.take_until(lambda: limit - group.used_bytes() < 3 * LEFT_MIB * MIB, 16)
    hog.take_until(lambda: limit - group.used_bytes() < LEFT_MIB * MIB, 2)
    noticed_s = seconds_until_node_is("degraded", watcher, NOTICED_WITHIN_S)
    reason = watcher.probe("/healthz")[1]["node_reason"]
    assert "memory is short" in reason
    assert group.folder.name in reason
    time.sleep(max(0.0, began_s + 8 - time.monotonic()))
    share = (processed(watcher) - before) / (time.monotonic() - began_s) / FPS
    assert hog.process.poll() is None, "the kernel has ended it"
    hog.end()
    back_s = seconds_until_node_is("online", watcher, BACK_WITHIN_S)
    logger.info(
        "noticed after %.1f s, back after %.1f s, %.0f %% of the frames", noticed_s, back_s, 100 * share
    )
    assert share >= 0.9
    assert daemon.log.count("memory is short") == 1
    assert daemon.log.count("there is enough memory again") == 1


def test_who_takes_too_much_is_ended_and_the_daemon_is_not(
    group: MemoryGroup, daemon: Daemon, hog: Hog, watcher: Watcher
) -> None:
    before, began_s = processed(watcher), time.monotonic()
    taken = 0
    while hog.take(16):
        taken += 1
        assert taken < 10 * ROOM_MIB // 16, "nothing bounds it"
    assert hog.process.wait(10) == -signal.SIGKILL
    time.sleep(max(0.0, began_s + 6 - time.monotonic()))
    assert daemon.process.poll() is None, daemon.log
    share = (processed(watcher) - before) / (time.monotonic() - began_s) / FPS
    logger.info("the kernel ended it after %d MiB; %.0f %% of the frames", 16 * taken, 100 * share)
    assert share >= 0.9
    seconds_until_node_is("online", watcher, BACK_WITHIN_S)
