"""What the fault suite shares: a broker that keeps its sessions, and a way to it that can be broken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import Mosquitto
from tests.e2e.conftest import start  # noqa: F401 - a fixture
from tests.faults.proxy import Proxy
from tests.faults.subscriber import DurableSubscriber

KEEPS_ITS_PROMISE = (
    "persistence true",
    "autosave_on_changes true",
    "autosave_interval 1",
    "max_queued_messages 0",
)
"""What a broker must be told so that a PUBACK means something; docs/mqtt.md says the same."""


@pytest.fixture(scope="session")
def long_form() -> bool:
    """Whether the long form runs: `make soak`."""
    return os.environ.get("EDGE_APP_FAULTS") == "long"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "broker"
    folder.mkdir()
    started = Mosquitto(folder, lines=(*KEEPS_ITS_PROMISE, f"persistence_location {folder}/"))
    started.start()
    yield started
    started.kill()


@pytest.fixture
def proxy(broker: Mosquitto) -> Iterator[Proxy]:
    made = Proxy(broker.port)
    yield made
    made.close()


@pytest.fixture
def subscriber(broker: Mosquitto) -> Iterator[DurableSubscriber]:
    made = DurableSubscriber(broker.port)
    yield made
    made.stop()
