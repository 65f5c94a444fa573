"""The daemon as a service: what the service manager hears, from a real process on a real socket."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_app.ops.service_report import READY_GRACE_S
from tests.brokers import Mosquitto, free_port, needs_mosquitto, until
from tests.e2e.daemon import Daemon, write_config
from tests.service_manager import ServiceManager

SCENE = "scene://street?seed=1&size=320x192&fps=10"

StartService = Callable[..., Daemon]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    """The service manager."""
    manager = ServiceManager(tmp_path)
    yield manager
    manager.close()


@pytest.fixture
def start(tmp_path: Path, manager: ServiceManager) -> Iterator[StartService]:
    """Starts the daemon as a service."""
    pytest.importorskip("cv2")
    pytest.importorskip("onnxruntime")
    daemons: list[Daemon] = []

    def begin(
        broker: str | None, cameras: dict[str, Any], watchdog_s: float | None = None, **sections: Any
    ) -> Daemon:
        config = write_config(tmp_path / "edge.yaml", broker, cameras, **sections)
        daemons.append(Daemon(config, **manager.environment(watchdog_s)))
        return daemons[-1]

    yield begin
    for daemon in daemons:
        daemon.kill()


def test_it_is_ready_with_the_first_inferred_frame_and_says_when_it_stops(
    start: StartService, manager: ServiceManager
) -> None:
    began_s = time.monotonic()
    daemon = start(None, {"yard": SCENE})
    until(lambda: manager.values("READY"), "READY=1 is told")
    assert time.monotonic() - began_s < READY_GRACE_S, "it was the first frame and not the grace"
    assert "ready: the first frame was inferred" in daemon.log
    assert "camera yard: streaming" in daemon.log
    # A frame a tenth of a second, a status every few seconds: by then there is a rate.
    until(lambda: re.search(r"1 of 1 cameras, \d+\.\d frames/s", manager.values("STATUS")[-1]), "a status")
    until(lambda: not manager.values("STATUS")[-1].endswith(" 0.0 frames/s"), "the rate in the status")

    assert daemon.stop() == 0
    until(lambda: manager.values("STOPPING"), "STOPPING=1 is told")
    assert manager.values("READY") == ["1"]
    assert manager.names()[-2:] == ["STOPPING", "STATUS"]
    assert manager.values("STATUS")[-1] == "stopping: it was asked to stop"
    assert {told.pid for told in manager.told} == {daemon.process.pid}, "NotifyAccess=main hears no others"


def test_with_every_camera_absent_it_is_ready_after_the_grace_and_says_so(
    start: StartService, manager: ServiceManager, silent_host: int
) -> None:
    daemon = start(
        None,
        {
            "door": f"rtsp://127.0.0.1:{free_port()}/stream1",
            "gate": {"uri": f"rtsp://127.0.0.1:{silent_host}/stream1", "open_timeout_s": 1.0},
        },
    )
    until(lambda: "0 of 2 cameras" in manager.values("STATUS")[-1:].__str__(), "a status")
    waiting_s = next(told.at_s for told in manager.told if "0 of 2" in told.value)
    assert not manager.values("READY")
    until(lambda: manager.values("READY"), "READY=1 is told", READY_GRACE_S + 5)
    ready_s = next(told.at_s for told in manager.told if told.name == "READY")
    assert READY_GRACE_S - 1 < ready_s - waiting_s < READY_GRACE_S + 2
    assert "ready: no camera is there; they are tried for ever" in daemon.log
    assert "door lost" in manager.values("STATUS")[-1]


@pytest.mark.broker
@needs_mosquitto
def test_the_status_tells_what_waits_in_the_outbox(
    start: StartService, manager: ServiceManager, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    mqtt = {"delivery": {"detections": "durable"}, "outbox": {"directory": str(tmp_path / "outbox")}}
    start(None, {"yard": SCENE}, mqtt=mqtt)

    def waiting() -> int:
        found = re.search(r"(\d+) messages in the outbox, the oldest for \d+ s", manager.values("STATUS")[-1])
        return int(found[1]) if found else 0

    until(lambda: manager.values("READY"), "READY=1 is told, the broker being away")
    until(lambda: waiting() > 5, "messages wait")


def test_the_watchdog_is_told_in_time(start: StartService, manager: ServiceManager) -> None:
    watchdog_s = 1.5
    daemon = start(None, {"yard": SCENE}, watchdog_s)
    until(lambda: len(manager.values("WATCHDOG")) >= 4, "the watchdog is told")
    times_s = [told.at_s for told in manager.told if told.name == "WATCHDOG"]
    assert max(late - soon for soon, late in itertools.pairwise(times_s)) < watchdog_s
    assert daemon.stop() == 0


def test_without_a_watchdog_nobody_is_told_of_it(start: StartService, manager: ServiceManager) -> None:
    daemon = start(None, {"yard": SCENE})
    until(lambda: manager.values("READY"), "READY=1 is told")
    assert daemon.stop() == 0
    assert not manager.values("WATCHDOG")


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"inference": {"batches": 1}}, "batches"),
        ({"model": {"path": "absent.onnx"}}, "absent.onnx"),
    ],
)
def test_what_a_restart_cannot_mend_ends_with_78_and_is_never_ready(
    start: StartService, manager: ServiceManager, sections: dict[str, Any], words: str
) -> None:
    daemon = start(None, {"yard": SCENE}, **sections)
    assert daemon.until_ended() == 78
    assert words in daemon.log
    assert not manager.values("READY")
