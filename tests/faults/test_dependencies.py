"""What the daemon depends on is killed or stands still: noticed in 10 s, back in 20 s, nobody else hurt.

With every default of the configuration. The long form (`make soak`) breaks each dependency alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from edge_app.config.models import MqttSection
from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.capture.parts import RtspServer, rtsp_server_lacks
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemon import Daemon
from tests.e2e.scrape import Watcher
from tests.soak.observe import FrameCounter
from tests.soak.small_model import small_model

pytestmark = [
    pytest.mark.broker,
    pytest.mark.rtsp,
    pytest.mark.slow,
    needs_mosquitto,
    pytest.mark.skipif(rtsp_server_lacks() is not None, reason=str(rtsp_server_lacks())),
]

logger = logging.getLogger(__name__)

NOTICED_WITHIN_S = 10.0
BACK_WITHIN_S = 20.0
LEAST_SHARE_OF_FPS = 0.9
LEAST_FAULT_S = 8.0
"""Long enough to tell 90 % of a frame rate from 100 %."""
FPS = 5
SCENES = {f"scene-{seed}": f"scene://street?seed={seed}&size=160x96&fps={FPS}" for seed in (1, 2)}
GATE = "gate"


class Node:
    """The daemon, what it depends on, and who watches it."""

    def __init__(self, daemon: Daemon, watcher: Watcher, broker: Mosquitto, server: RtspServer) -> None:
        self.daemon, self._watcher = daemon, watcher
        self.broker, self._server = broker, server

    def close(self) -> None:
        self._server.kill()

    def freeze_camera(self) -> None:
        self._server.freeze()

    def thaw_camera(self) -> None:
        self._server.thaw()

    def kill_camera(self) -> None:
        self._server.kill()

    def start_camera(self) -> None:
        self._server = camera_server(self._server.port)

    def processed(self) -> dict[str, float]:
        """Return how many frames of each camera have become detections."""
        samples = self._watcher.samples()
        return {
            camera: samples["edge_app_frames_processed_total", frozenset({("camera", camera)})]
            for camera in (*SCENES, GATE)
        }

    def waiting(self) -> float:
        """Return how many messages wait in the outbox."""
        return self._watcher.samples()["edge_app_outbox_messages", frozenset()]

    def camera_is_away(self) -> bool:
        labels = [{"camera": GATE, "state": state} for state in ("stalled", "lost")]
        return any(self._watcher.value("edge_app_camera_state", **label) == 1 for label in labels)

    def camera_delivers(self) -> Callable[[], bool]:
        before = self.processed()[GATE]
        return lambda: not self.camera_is_away() and self.processed()[GATE] > before

    def broker_is_away(self) -> bool:
        return self._watcher.value("edge_app_broker_connected") == 0

    def broker_is_there(self) -> Callable[[], bool]:
        return lambda: not self.broker_is_away()


@dataclass(frozen=True)
class Fault:
    """Something that is done to a dependency, and undone."""

    begin: Callable[[Node], None]
    is_noticed: Callable[[Node], bool]
    undo: Callable[[Node], None]
    when_back: Callable[[Node], Callable[[], bool]]


CAMERA_FROZEN = Fault(Node.freeze_camera, Node.camera_is_away, Node.thaw_camera, Node.camera_delivers)
CAMERA_KILLED = Fault(Node.kill_camera, Node.camera_is_away, Node.start_camera, Node.camera_delivers)
BROKER_FROZEN = Fault(
    lambda node: node.broker.freeze(),
    Node.broker_is_away,
    lambda node: node.broker.thaw(),
    Node.broker_is_there,
)
BROKER_KILLED = Fault(
    lambda node: node.broker.kill(),
    Node.broker_is_away,
    lambda node: node.broker.start(),
    Node.broker_is_there,
)
EACH_ALONE = {
    "camera server SIGSTOP": (CAMERA_FROZEN,),
    "camera server SIGKILL": (CAMERA_KILLED,),
    "broker SIGSTOP": (BROKER_FROZEN,),
    "broker SIGKILL": (BROKER_KILLED,),
}
ALL_AT_ONCE = {
    "camera server and broker SIGSTOP": (CAMERA_FROZEN, BROKER_FROZEN),
    "camera server and broker SIGKILL": (CAMERA_KILLED, BROKER_KILLED),
}


def camera_server(port: int = 0) -> RtspServer:
    return RtspServer("--width", "160", "--height", "96", "--fps", str(FPS), port=port)


@pytest.fixture
def node(broker: Mosquitto, start: StartDaemon, tmp_path: Path) -> Iterator[Node]:
    pytest.importorskip("onnx")
    server, watcher = camera_server(), Watcher()
    daemon = start(
        broker.uri,
        {**SCENES, GATE: server.uri},
        mqtt={
            **{key: MqttSection.model_fields[key].default for key in ("reconnect_min_s", "reconnect_max_s")},
            "delivery": {"detections": "durable"},
            "outbox": {"directory": str(tmp_path / "outbox")},
        },
        metrics=watcher.section,
        model={"path": str(small_model(tmp_path))},
        inference={"backend": "onnxruntime", "threads": 1},
    )
    node = Node(daemon, watcher, broker, server)
    yield node
    node.close()


@pytest.mark.timeout(400)
def test_it_is_noticed_and_mended_in_time_and_hurts_nobody_else(
    node: Node, broker: Mosquitto, long_form: bool
) -> None:
    for camera in (*SCENES, GATE):
        node.daemon.until_log_says(f"camera {camera}: streaming")
    counter = FrameCounter(broker.uri, 60.0, time.time())
    counter.start()
    with ExitStack() as closing:
        closing.callback(counter.stop)
        for name, faults in {**ALL_AT_ONCE, **(EACH_ALONE if long_form else {})}.items():
            until(node.camera_delivers(), "all is well")
            break_and_mend(node, name, faults)
        # What comes after the last fault shows by its number whether anything before it is missing.
        over_s = time.time()
        cameras = (*SCENES, GATE)
        until(lambda: all(counter.newest_s(camera) > over_s for camera in cameras), "messages come again")
        until(lambda: node.waiting() <= 2 and counter.missing == 0, "every message has arrived")
    assert "Traceback" not in node.daemon.log


def break_and_mend(node: Node, name: str, faults: tuple[Fault, ...]) -> None:
    began_s, before = time.monotonic(), node.processed()
    for fault in faults:
        fault.begin(node)
    noticed_s = after(began_s, [partial(fault.is_noticed, node) for fault in faults])
    time.sleep(max(0.0, began_s + LEAST_FAULT_S - time.monotonic()))
    undone_s = time.monotonic()
    for fault in faults:
        fault.undo(node)
    back_s = after(undone_s, [fault.when_back(node) for fault in faults])
    passed_s, now = time.monotonic() - began_s, node.processed()
    shares = {camera: (now[camera] - before[camera]) / passed_s / FPS for camera in SCENES}
    words = "%s: noticed after %.1f s, back after %.1f s, other cameras at %.0f %% of their frame rate"
    logger.info(words, name, noticed_s, back_s, 100 * min(shares.values()))
    assert noticed_s <= NOTICED_WITHIN_S, (name, node.daemon.log)
    assert back_s <= BACK_WITHIN_S, (name, node.daemon.log)
    assert min(shares.values()) >= LEAST_SHARE_OF_FPS, (name, shares, node.daemon.log)


def after(since_s: float, conditions: Sequence[Callable[[], bool]]) -> float:
    """Return how long after a moment all conditions have been met once, in seconds."""
    waiting = list(conditions)
    deadline_s = time.monotonic() + 60
    while waiting and time.monotonic() < deadline_s:
        waiting = [met for met in waiting if not met()]
        time.sleep(0.05)
    assert not waiting, "never within a minute"
    return time.monotonic() - since_s
