"""Fixtures of more than one folder."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import Mosquitto
from tests.publish.parts import Parts

# A shell that starts us in the background lets us ignore Ctrl-C, and what we start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST = ("systemd/test_install", "engine/", "e2e/", "faults/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first: no process is to be left with it when the others are done."""
    folder = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(folder).as_posix()
        return next((place for place, start in enumerate(LONGEST) if name.startswith(start)), len(LONGEST))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def levels_of_the_log() -> Iterator[None]:
    """What a test does to the level of our log, or of a part of it, ends with the test."""
    yield
    for name in list(logging.root.manager.loggerDict):
        if name == "edge_app" or name.startswith("edge_app."):
            logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A Mosquitto that has not been started yet."""
    broker = Mosquitto(tmp_path)
    yield broker
    broker.kill()


@pytest.fixture
def parts() -> Iterator[Parts]:
    """Makes publishers and recorders, and stops what the test left running.

    Fails if a recorder saw what no schema allows.
    """
    made = Parts()
    yield made
    made.stop()
