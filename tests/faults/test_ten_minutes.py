"""A broker that is away for ten minutes, which are simulated, while others' live messages go on."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edge_app.messages import DropReason
from edge_app.publish.broker import BrokerAddress, BrokerOptions
from edge_app.publish.connection import BrokerConnection
from edge_app.publish.publisher import MqttPublisher
from edge_app.publish.traffic import Received, Traffic
from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.faults.proxy import Proxy
from tests.publish.parts import BASE, Neighbours, Parts, detections

pytestmark = [pytest.mark.broker, needs_mosquitto, pytest.mark.timeout(900)]

logger = logging.getLogger(__name__)

AWAY_S = 600.0
MAX_AGE_S = 400.0
NOW_S = 1.0
"""Live is what is no older than this."""
LIVE_HZ = 20.0
DURABLE = f"{BASE}/camera/gate/detections"


class SimulatedTime:
    """The clock that nobody sets, by which ages are measured: it runs ahead as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        real = time.clock_gettime
        monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + self.ahead_s)


class Judge(Traffic):
    """Notes the number of each durable message, and how old each live one was when it came."""

    subscriptions = ("edge/v1/#", "live/v1/#")
    subscription_qos = 1

    def __init__(self, port: int) -> None:
        self.numbers: list[int] = []
        self.replayed: list[bool] = []
        self.live_ages_s: list[float] = []
        self.health_ages_s: list[float] = []
        options = BrokerOptions(BrokerAddress("127.0.0.1", port), "judge")
        self.connection = BrokerConnection(options, self)
        self.connection.start()

    def received(self, message: Received) -> None:
        payload = json.loads(message.payload)
        made = datetime.fromisoformat(payload["published_at"].replace("Z", "+00:00"))
        age_s = (datetime.now(timezone.utc) - made).total_seconds()
        if message.topic == DURABLE:
            self.numbers.append(payload["frame_id"])
            self.replayed.append(payload["replayed"])
        elif message.topic.endswith("/detections"):
            self.live_ages_s.append(age_s)
        elif message.topic == f"{BASE}/health":
            self.health_ages_s.append(age_s)


@pytest.fixture
def judge(broker: Mosquitto) -> Iterator[Judge]:
    made = Judge(broker.port)
    until(lambda: made.connection.connected, "the judge is there")
    yield made
    made.connection.stop(0.5)


@contextmanager
def live_messages(publisher: MqttPublisher) -> Iterator[None]:
    """Publish live detections all the while."""
    over = threading.Event()

    def publish() -> None:
        number = 0
        while not over.wait(1 / LIVE_HZ):
            publisher.put(detections(number), wait=False)
            number += 1

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_ten_minutes_without_a_broker(
    broker: Mosquitto,
    proxy: Proxy,
    parts: Parts,
    judge: Judge,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    long_form: bool,
) -> None:
    simulated = SimulatedTime(monkeypatch)
    count = 60_000 if long_form else 3000
    neighbours = Neighbours()
    outbox = {"directory": str(tmp_path / "outbox"), "max_age_s": MAX_AGE_S}
    durable = parts.publisher(
        proxy.uri, neighbours, delivery={"detections": "durable"}, health_interval_s=1.0, outbox=outbox
    )
    live = parts.publisher(broker.uri, Neighbours(), root="live", client_id="live")
    for publisher in (durable, live):
        publisher.start()
    until(lambda: durable.is_connected and live.is_connected, "both are connected")
    with live_messages(live):
        proxy.away = True
        proxy.cut()
        until(lambda: not durable.is_connected, "the way is broken")
        for number in range(count):
            durable.put(detections(number, 20), wait=True)
            simulated.ahead_s += AWAY_S / count
        beyond = count * (1 - MAX_AGE_S / AWAY_S)
        until(lambda: neighbours.drops[DropReason.OUTBOX_EXPIRED] >= beyond - 1, "the oldest are dropped")
        proxy.away = False
        until(lambda: durable.is_connected, "it is connected again")
        began_s = time.monotonic()
        until(lambda: judge.numbers and judge.numbers[-1] == count - 1, "the newest comes", 120)
        drained_s = time.monotonic() - began_s
        time.sleep(1.0)
    expired = neighbours.drops[DropReason.OUTBOX_EXPIRED]
    logger.info(
        "%d messages over ten minutes: %d beyond the bound, %d within; drained at %.0f messages/s; live "
        "messages meanwhile at most %.3f s old, health %.3f s",
        *(count, expired, len(judge.numbers), len(judge.numbers) / drained_s),
        *(max(judge.live_ages_s), max(judge.health_ages_s)),
    )
    # Whatever is within the bound comes, once and in order; the rest is counted.
    assert judge.numbers == list(range(expired, count))
    assert beyond - 1 <= expired <= beyond + count * 0.02
    assert all(judge.replayed[: len(judge.replayed) // 2])
    assert neighbours.drops.total() == expired
    assert len(judge.live_ages_s) > LIVE_HZ
    assert max(judge.live_ages_s) < NOW_S
    assert max(judge.health_ages_s) < NOW_S
