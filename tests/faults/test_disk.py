"""A disk that is full, read-only or damaged under the real daemon: video and live detections go on."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from edge_app.publish.outbox import store as store_module
from edge_app.publish.outbox.outbox import RESERVE_BYTES
from edge_app.publish.outbox.store import NewRow, OutboxStore
from tests.brokers import needs_mosquitto, until
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemon import BASE, NODE, Daemon
from tests.faults.proxy import Proxy
from tests.publish.outbox.test_store import damage
from tests.publish.parts import Parts, Recorder

pytestmark = [pytest.mark.broker, needs_mosquitto]

STREET = "scene://street?seed=1&size=320x192&fps=10"
DETECTIONS = f"{BASE}/camera/yard/detections"
MIB = 1 << 20


def durable(directory: Path) -> dict[str, object]:
    return {"delivery": {"detections": "durable"}, "outbox": {"directory": str(directory)}}


@pytest.fixture
def judge(parts: Parts, proxy: Proxy) -> Recorder:
    return parts.recorder(f"mqtt://127.0.0.1:{proxy.target_port}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, a little larger than what is left alone."""
    where = tmp_path / "disk"
    where.mkdir()
    size = f"size={RESERVE_BYTES + 8 * MIB}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(where)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True)


def status(judge: Recorder) -> tuple[str, str]:
    """The node's newest state and reason."""
    told = judge.on(f"{BASE}/status")
    return (told[-1]["state"], str(told[-1]["reason"])) if told else ("", "")


def numbers(judge: Recorder) -> list[int]:
    """Of the messages; frames may be left out before on a busy machine."""
    return [message["seq"] for message in judge.on(DETECTIONS)]


def until_degraded(judge: Recorder, words: str) -> None:
    until(lambda: status(judge)[0] == "degraded" and words in status(judge)[1], f"status says {words!r}", 20)


def check_live(judge: Recorder, daemon: Daemon, count: int = 10) -> None:
    """Fail unless detections go on coming, made just now."""
    before = len(judge.on(DETECTIONS))
    until(lambda: len(judge.on(DETECTIONS)) >= before + count, "detections go on")
    assert age_s(judge.on(DETECTIONS)[-1]) < 5
    assert daemon.process.poll() is None


def age_s(message: dict[str, Any]) -> float:
    """How long ago a message was made."""
    made = datetime.fromisoformat(message["published_at"].replace("Z", "+00:00"))
    return (datetime.now(timezone.utc) - made).total_seconds()


def test_a_disk_that_fills_up_and_empties(
    start: StartDaemon, proxy: Proxy, judge: Recorder, small_disk: Path
) -> None:
    daemon = start(proxy.uri, {"yard": STREET}, mqtt=durable(small_disk / "outbox"))
    check_live(judge, daemon)
    ballast = small_disk / "ballast"
    fill(ballast)
    until_degraded(judge, "full")
    check_live(judge, daemon, 30)
    ballast.unlink()
    until(lambda: status(judge)[0] == "online", "it works again", 20)
    seen = len(judge.on(DETECTIONS))
    until(lambda: len(judge.on(DETECTIONS)) > seen + 10, "detections go on")
    assert daemon.stop() == 0
    # What waited in memory came later.
    assert sorted(set(numbers(judge))) == list(range(max(numbers(judge)) + 1))


def test_a_full_disk_gives_back_what_is_on_it(
    start: StartDaemon, proxy: Proxy, judge: Recorder, small_disk: Path
) -> None:
    daemon = start(proxy.uri, {"yard": STREET}, mqtt=durable(small_disk / "outbox"))
    check_live(judge, daemon)
    proxy.away = True
    proxy.cut()
    daemon.until_log_says("no broker")
    time.sleep(2)  # twenty frames go onto the disk
    fill(small_disk / "ballast")
    daemon.until_log_says("full")
    last = max(numbers(judge))
    proxy.away = False
    kept = range(last + 1, last + 11)
    until(lambda: set(kept) <= set(numbers(judge)), "what is on disk comes")
    until_degraded(judge, "full")
    check_live(judge, daemon)
    assert daemon.stop() == 0


def test_a_nearly_full_disk_gives_back_what_is_on_it_after_a_restart_of_the_machine(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "boot_id", lambda: "before")
    store = OutboxStore(small_disk / "o.db", synced=True)
    for _ in range(14):
        store.append([NewRow("t", "yard", b"x" * 3600)] * 256)
    store.close()
    fill(small_disk / "ballast", but=7 * MIB)
    monkeypatch.setattr(store_module, "boot_id", lambda: "after")
    store = OutboxStore(small_disk / "o.db", synced=True)
    while found := store.after(0, 256):
        store.delete([row.position for row in found])
    assert store.count == 0
    store.close()


def fill(ballast: Path, but: int = 0) -> None:
    """Write until there is not a byte left, or so many."""
    with ballast.open("wb", buffering=0) as file:
        if but:
            file.write(b"\0" * (shutil.disk_usage(ballast.parent).free - but))
            return
        for chunk in (MIB, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * chunk)


def test_a_read_only_disk(start: StartDaemon, proxy: Proxy, judge: Recorder, small_disk: Path) -> None:
    remount(small_disk, "ro")
    daemon = start(proxy.uri, {"yard": STREET}, mqtt=durable(small_disk / "outbox"))
    until_degraded(judge, "read-only")
    check_live(judge, daemon)
    remount(small_disk, "rw")
    until(lambda: status(judge)[0] == "online", "it works again", 20)
    check_live(judge, daemon)
    assert daemon.stop() == 0


def remount(where: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(where)], check=True)


def test_a_directory_that_may_not_be_changed(
    start: StartDaemon, proxy: Proxy, judge: Recorder, tmp_path: Path
) -> None:
    directory = tmp_path / "outbox"
    directory.mkdir()
    if subprocess.run(["chattr", "+i", str(directory)], capture_output=True, check=False).returncode:
        pytest.skip("making a directory immutable is not permitted here")
    try:
        daemon = start(proxy.uri, {"yard": STREET}, mqtt=durable(directory))
        until_degraded(judge, "not permitted")
        check_live(judge, daemon)
    finally:
        subprocess.run(["chattr", "-i", str(directory)], check=True)
    until(lambda: status(judge)[0] == "online", "it works again", 20)
    assert daemon.stop() == 0


def test_files_that_may_not_grow(start: StartDaemon, proxy: Proxy, judge: Recorder, tmp_path: Path) -> None:
    """Needs no rights: a limit of the process stands for the disk."""
    daemon = start(proxy.uri, {"yard": STREET}, mqtt=durable(tmp_path / "outbox"))
    check_live(judge, daemon)
    unlimited = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (30_000, unlimited[1]))
    until_degraded(judge, "outbox")
    check_live(judge, daemon)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, unlimited)
    until(lambda: status(judge)[0] == "online", "it works again", 20)
    assert daemon.stop() == 0
    assert sorted(set(numbers(judge))) == list(range(max(numbers(judge)) + 1))


@pytest.mark.parametrize("how", ["truncated", "bits flipped", "newer"])
def test_a_damaged_file_of_before(
    start: StartDaemon, proxy: Proxy, judge: Recorder, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "outbox" / f"{NODE}.db"
    path.parent.mkdir()
    store = OutboxStore(path, synced=False)
    for number in range(200):
        store.append([NewRow("t", "yard", b"%0400d" % number)])
    store.close()
    damage(path, how)
    content = path.read_bytes()
    daemon = start(proxy.uri, {"yard": STREET}, mqtt=durable(path.parent))
    until_degraded(judge, "a damaged file was set aside as")
    check_live(judge, daemon)
    assert daemon.stop() == 0
    (kept,) = path.parent.glob("*.damaged-*Z")
    assert kept.read_bytes() == content
    assert kept.name in status_reasons(judge)


def status_reasons(judge: Recorder) -> str:
    return " ".join(str(told["reason"]) for told in judge.on(f"{BASE}/status"))
