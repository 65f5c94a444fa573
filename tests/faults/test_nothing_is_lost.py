"""Durable messages over kills, cuts and restarts: none lost, few twice, the order kept."""

from __future__ import annotations

import logging
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.brokers import Mosquitto, needs_mosquitto
from tests.faults.durable_node import accepted
from tests.faults.proxy import Proxy
from tests.faults.subscriber import DurableSubscriber
from tests.processes import environment

pytestmark = [pytest.mark.broker, needs_mosquitto, pytest.mark.timeout(1200)]

logger = logging.getLogger(__name__)

WINDOW = 16


class Node:
    """The publishing process, started anew whenever it was killed."""

    def __init__(self, proxy: Proxy, folder: Path, count: int, rate: float) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.count = folder, count
        self._command = [
            *(sys.executable, "-m", "tests.faults.durable_node", proxy.uri, str(folder)),
            *(str(count), str(rate), str(WINDOW)),
        ]
        self._log = (folder / "log").open("ab")
        self.start()

    def start(self) -> None:
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(self._command, cwd=root, env=environment(), stderr=self._log)

    def kill(self) -> None:
        """End it without warning, at whatever it is doing."""
        assert self.process.poll() is None, (self.folder / "log").read_text()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def done(self) -> bool:
        """Whether every message is on disk."""
        return accepted(self.folder) >= self.count

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


StartNode = Callable[..., Node]


@pytest.fixture
def start_node(proxy: Proxy, tmp_path: Path) -> Iterator[StartNode]:
    nodes: list[Node] = []

    def start(count: int, rate: float) -> Node:
        nodes.append(Node(proxy, tmp_path / "node", count, rate))
        return nodes[-1]

    yield start
    for node in nodes:
        node.close()


def check(subscriber: DurableSubscriber, count: int, faults: int) -> None:
    """Fail unless everything came, at most a window twice for each fault, and each topic in order."""
    first = subscriber.first_seen()
    assert sorted(first) == list(range(count)), "lost"
    for camera in range(3):
        mine = [number for number in first if number % 3 == camera]
        assert mine == sorted(mine), "out of order"
    assert subscriber.duplicates <= WINDOW * faults


def test_kills_cuts_and_restarts(
    start_node: StartNode, proxy: Proxy, broker: Mosquitto, subscriber: DurableSubscriber, long_form: bool
) -> None:
    count, kills, cuts, restarts = (10_000, 50, 40, 20) if long_form else (1500, 6, 5, 2)
    node = start_node(count, 300.0)
    faults = ["kill"] * kills + ["cut"] * cuts + ["restart"] * restarts
    random.Random(1).shuffle(faults)
    for number, fault in enumerate(faults):
        # Each has its share of the messages to hit.
        due = count * (number + 1) // (len(faults) + 1)
        deadline_s = time.monotonic() + 60
        while accepted(node.folder) < due and time.monotonic() < deadline_s:
            time.sleep(0.002)
        if fault == "kill":
            node.kill()
            node.start()
        elif fault == "cut":
            proxy.cut()
        else:
            broker.end()
            broker.start()
    subscriber.until_seen(count, 180)
    time.sleep(0.5)  # what comes twice may still come
    check(subscriber, count, len(faults))
    logger.info(
        "%d messages, %d kills, %d cuts, %d restarts: 0 lost, %d twice, %d marked as replayed",
        *(count, kills, cuts, restarts, subscriber.duplicates, sum(subscriber.replayed)),
    )


def test_acknowledgements_that_are_lost_cost_a_window(
    start_node: StartNode, proxy: Proxy, subscriber: DurableSubscriber
) -> None:
    proxy.lose_pubacks = True
    start_node(200, 1000.0)
    subscriber.until_seen(WINDOW, 30)
    time.sleep(0.5)
    assert subscriber.seen == WINDOW  # no more than a window is on its way
    proxy.lose_pubacks = False
    proxy.cut()
    subscriber.until_seen(200, 30)
    check(subscriber, 200, 1)
    # Those that come again say so; the broker had them already.
    assert sum(subscriber.replayed[WINDOW : 2 * WINDOW]) == WINDOW


@pytest.mark.parametrize("direction", ["swallow_up", "swallow_down"])
def test_a_black_hole_in_one_direction_is_noticed(
    start_node: StartNode, proxy: Proxy, subscriber: DurableSubscriber, direction: str
) -> None:
    node = start_node(600, 100.0)
    subscriber.until_seen(50, 30)
    setattr(proxy, direction, True)
    began_s, before = time.monotonic(), proxy.connections
    while proxy.connections == before:
        assert time.monotonic() - began_s < 30, node.log
        time.sleep(0.05)
    noticed_s = time.monotonic() - began_s
    setattr(proxy, direction, False)
    proxy.cut()
    subscriber.until_seen(600, 60)
    check(subscriber, 600, 3)
    # The keepalive is 5 s.
    assert noticed_s < 1.5 * 5 + 2, f"noticed after {noticed_s:.1f} s"


def test_a_long_way_at_fifty_a_second(
    start_node: StartNode, proxy: Proxy, subscriber: DurableSubscriber
) -> None:
    proxy.delay_s = 0.1
    node = start_node(250, 50.0)
    while not node.done():
        time.sleep(0.05)
    subscriber.until_seen(250, 5)  # it kept up: what is left is what is on its way
    check(subscriber, 250, 0)


def test_a_thin_line(start_node: StartNode, proxy: Proxy, subscriber: DurableSubscriber) -> None:
    proxy.bytes_per_s = 2500  # 20 kbit/s
    start_node(40, 100.0)
    subscriber.until_seen(40, 90)
    check(subscriber, 40, 1)


def test_a_broker_that_stands_still_and_goes_on(
    start_node: StartNode, broker: Mosquitto, subscriber: DurableSubscriber
) -> None:
    node = start_node(600, 300.0)
    subscriber.until_seen(50, 30)
    broker.freeze()
    while not node.done():
        time.sleep(0.05)
    broker.thaw()
    subscriber.until_seen(600, 60)
    check(subscriber, 600, 2)
