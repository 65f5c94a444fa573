"""Reloads that are asked for by several, and while the daemon ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge_app.app.reload_requests import ReloadRequests
from edge_app.messages import CameraState
from edge_app.ops.service_report import ServiceReport, ServiceState
from tests.app.test_reload import DOOR, YARD, Node, fail
from tests.brokers import until


class Asked:
    """A node that can be asked to reload, and what the service manager and the node's status hear of it."""

    def __init__(self, node: Node, report: ServiceReport) -> None:
        self.node, self.report = node, report
        self.troubles: list[str | None] = []
        watch = SimpleNamespace(trouble=lambda part, words: self.troubles.append(words))
        self.requests = ReloadRequests(node.reloader, report, cast("Any", watch), str)
        self.threads: list[threading.Thread] = []

    def ask(self, call: Callable[[], object] | None = None) -> threading.Thread:
        self.threads.append(threading.Thread(target=call or self.requests.reload, daemon=True))
        self.threads[-1].start()
        return self.threads[-1]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr("edge_app.ops.service_report.notify", lambda *words: heard.append(words[0]))
    return heard


@pytest.fixture
def asked(tmp_path: Path, told: list[str]) -> Asked:
    node = Node(tmp_path / "edge.yaml")
    node.start()
    report = ServiceReport(lambda: ServiceState(1, 0.0, {"yard": CameraState.STREAMING}), lambda: True)
    report.step()
    told.clear()
    return Asked(node, report)


def test_of_two_at_once_each_is_told_as_a_whole(asked: Asked, told: list[str]) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert go_on.wait(10)

    asked.node.at["camera door"] = hold
    asked.node.write(cameras={"yard": YARD, "door": DOOR})
    first = asked.ask()
    assert begun.wait(10)
    second = asked.ask()
    second.join(0.3)
    assert told == ["RELOADING=1"]
    go_on.set()
    first.join(10)
    second.join(10)
    assert told == ["RELOADING=1", "READY=1"] * 2


def test_it_is_begun_before_the_file_is_read(asked: Asked) -> None:
    """Otherwise whoever edited the file in between would take the answer for his own."""
    order: list[str] = []
    stop, hangup = threading.Event(), threading.Event()
    hangup.set()

    class Answers:
        def begin(self) -> None:
            asked.node.write(cameras={"yard": YARD, "door": DOOR})

        def reply(self, words: str, exit_status: int) -> None:
            order.append(words)

    asked.requests.listen(stop, hangup, Answers())
    until(lambda: order, "it is answered", 10)
    stop.set()
    assert order == ["camera door added"]


def test_one_that_hangs_does_not_hold_up_the_end_and_is_not_told_after_it(
    asked: Asked, told: list[str]
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        assert go_on.wait(10)

    asked.node.at["camera door"] = hang
    asked.node.write(cameras={"yard": YARD, "door": DOOR, "gate": DOOR})
    reload = asked.ask()
    waiting = asked.ask()
    assert begun.wait(10)

    def end() -> None:
        asked.node.reloader.end()
        asked.report.stop()

    ending = asked.ask(end)
    ending.join(2)
    assert not ending.is_alive()
    told.append("STOPPING=1")
    go_on.set()
    reload.join(10)
    waiting.join(10)
    assert told == ["RELOADING=1", "STOPPING=1"]
    assert asked.troubles == [], "what the end keeps from being done is none"
    assert asked.node.done == ["camera door", "revive"], "nothing more is begun"


def test_what_is_wrong_with_the_configuration_is_told_until_a_reload_works(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, both = asked.node, {"yard": YARD, "door": DOOR}

    def told_of(**sections: Any) -> str:
        node.write(**sections)
        asked.requests.reload()
        return asked.troubles[-1] or ""

    assert "the configuration was not reloaded: " in told_of(cameras={})
    node.at["camera door"] = fail
    in_part = (
        "the configuration was reloaded in part; the rest: unexpected RuntimeError, see the log, and restart"
    )
    assert told_of(cameras=both) == in_part
    del node.at["camera door"]
    with monkeypatch.context() as patched:
        patched.setattr("edge_app.app.reload.load_config", lambda path: fail())
        assert told_of() == "the configuration was not reloaded: unexpected RuntimeError, see the log"
    assert told_of(cameras=both) == ""
    told_of(cameras={})
    assert told_of(cameras=both, node={"name": "other"}) == "", "a restart that is needed is none"
