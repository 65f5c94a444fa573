"""What is taken over of a changed configuration, when something fails or ends between two steps."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge_app.app.daemon import Application
from edge_app.app.reload import EXIT_RESTART, Reloader, ReloadResult, read_secrets
from edge_app.app.reload_steps import Running
from edge_app.config.loader import load_config
from edge_app.config.secrets import SecretRegistry
from edge_app.ops.logging import set_level

YARD = {"uri": "scene://street"}
DOOR = {"uri": "scene://street?seed=2"}


class Node:
    """A configuration, and parts that note what a reload does to them; the real ones are tested in e2e.

    Attributes:
        done: What was done, in order.
        passwords: By whose they are, such as `cameras.yard`.
        at: By what is done, in words: called when it is.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.done: list[str] = []
        self.passwords: dict[str, str] = {}
        self.at: dict[str, Callable[[], object]] = {}
        self.reloader: Reloader

    def write(self, **sections: Any) -> None:
        content = {"cameras": {"yard": YARD}, **sections}
        self._file.write_text(json.dumps(content), encoding="utf-8")

    def start(self, log_level: str | None = None, **sections: Any) -> None:
        self.write(**sections)
        loaded = load_config(self._file)
        self.reloader = Reloader(loaded, read_secrets(loaded.config, self._secret), self._secret, log_level)
        self.reloader.begin(self.running())

    def reload(self, **sections: Any) -> ReloadResult:
        """Reload a file of these sections; `done` holds what that does."""
        self.write(**sections)
        self.done.clear()
        return self.reloader.reload()

    def note(self, words: str) -> None:
        self.done.append(words)
        self.at.get(words, lambda: None)()

    def _secret(self, config: object, section: object, where: str) -> str | None:
        return self.passwords.get(where)

    def running(self) -> Running:
        fleet = SimpleNamespace(
            lanes={None: None},
            models={"yard": None},
            make=lambda name, section, password: SimpleNamespace(camera_id=name),
            put=lambda camera, model, tell: self.note(f"camera {camera.camera_id}"),
            transport_with=lambda cameras, removed: None,
            remove=lambda name, tell: self.note(f"camera {name} removed"),
        )
        publisher = SimpleNamespace(
            options_of=lambda section, password: section,
            redirect=lambda section, options: self.note("broker"),
        )
        detector = SimpleNamespace(check=lambda section: None, retune=self._retune)
        return Running(
            fleet=cast("Any", fleet),
            publisher=cast("Any", publisher),
            sinks=cast("Any", None),
            builder=cast("Any", None),
            street=cast("Any", SimpleNamespace(revive=lambda: self.note("revive"))),
            detectors={None: cast("Any", detector)},
            tell_info=lambda: None,
        )

    def _retune(self, section: object) -> object:
        self.note("thresholds")
        return section


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    yield Node(tmp_path / "edge.yaml")
    set_level("info")


def test_a_level_that_the_command_line_rules_is_named_as_long_as_the_file_says_another(node: Node) -> None:
    node.start("debug")
    for _ in range(2):
        result = node.reload(log={"level": "warning"})
        assert result.refused == ("log.level is what the command line says, debug",)
        assert result.exit_status == EXIT_RESTART
    assert node.reload(log={"level": "debug"}) == ReloadResult()


def test_a_level_changes_once(node: Node) -> None:
    node.start()
    assert node.reload(log={"level": "warning"}).applied == ("log.level warning",)
    assert node.reload(log={"level": "warning"}) == ReloadResult()


def fail() -> None:
    raise RuntimeError("a fault of ours")


THREE = {"yard": YARD, "door": DOOR, "gate": DOOR}


def test_what_was_done_before_a_step_that_failed_is_not_done_again_and_the_rest_is(node: Node) -> None:
    node.start()
    node.at["camera door"] = fail
    result = node.reload(cameras=THREE, mqtt={"keepalive_s": 20})
    assert result.applied == ("broker",)
    assert result.refused == ("the rest: unexpected RuntimeError, see the log, and restart",)
    assert result.exit_status == 1
    del node.at["camera door"]
    result = node.reload(cameras=THREE, mqtt={"keepalive_s": 20})
    assert result.applied == ("camera door added", "camera gate added")
    assert node.done == ["camera door", "revive", "camera gate", "revive"]
    assert node.reload(cameras=THREE, mqtt={"keepalive_s": 20}) == ReloadResult()


def test_a_step_that_failed_is_undone_where_it_is_not_wanted_any_more(node: Node) -> None:
    node.start()
    node.at["camera door"] = fail
    node.reload(cameras=THREE)
    assert node.reload().applied == ("camera door removed",)
    node.reload(cameras={"yard": {**YARD, "max_fps": 1}})
    node.at["camera yard"] = fail
    node.reload()
    del node.at["camera yard"]
    altered = node.reload(cameras={"yard": {**YARD, "max_fps": 1}})
    assert altered.applied == ("camera yard altered",), "it may be as it was, or not"


FACES: dict[str, Any] = {"models": {"faces": {"path": "demo"}}}


def test_a_password_that_came_with_a_model_that_was_refused_is_taken_over_without_it(node: Node) -> None:
    node.start(cameras={"yard": YARD}, **FACES)
    node.passwords["cameras.yard"] = "new"
    refused = node.reload(cameras={"yard": {**YARD, "model": "faces"}}, **FACES)
    assert refused.refused == ("cameras.yard needs a restart",)
    assert node.done == []
    assert node.reload(cameras={"yard": YARD}, **FACES).applied == ("camera yard altered",)
    assert node.reload(cameras={"yard": YARD}, **FACES) == ReloadResult()


def test_a_camera_that_stays_until_a_restart_keeps_its_password(node: Node) -> None:
    node.passwords["cameras.yard"] = "old"
    node.start(cameras={"yard": YARD}, **FACES)
    refused = node.reload(cameras={"door": {**DOOR, "model": "faces"}}, **FACES)
    assert refused.refused == ("cameras.door needs a restart", "cameras.yard needs a restart")
    assert node.reload(cameras={"yard": YARD}, **FACES) == ReloadResult()


def test_a_password_is_compared_with_the_names_of_the_configuration_that_is_read(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BROKER", "gatehouse")
    mqtt = {"username": "me", "password_env": "BROKER"}
    node.write(mqtt=mqtt)
    loaded = load_config(tmp_path / "edge.yaml")
    read = partial(Application._secret, cast("Any", SimpleNamespace(_secrets=SecretRegistry())))
    reloader = Reloader(loaded, read_secrets(loaded.config, read), read)
    reloader.begin(node.running())
    node.write(mqtt=mqtt, cameras={"yard": YARD, "gatehouse": DOOR})
    with caplog.at_level(logging.WARNING):
        assert reloader.reload().applied == ("camera gatehouse added",)
        assert "mqtt: the password stands in a name of a camera" in caplog.text
        caplog.clear()
        node.write(mqtt=mqtt)
        assert reloader.reload().applied == ("camera gatehouse removed",)
        assert "the password stands in a name" not in caplog.text
