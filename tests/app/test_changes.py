"""What a changed configuration asks of a running daemon."""

from __future__ import annotations

from typing import Any

import pytest

from edge_app.app.changes import Changes, Secrets, find_changes, in_force
from edge_app.config.models import AppConfig

NONE = Secrets(None, {}, {})


def config(**sections: Any) -> AppConfig:
    cameras = sections.pop("cameras", {"yard": {"uri": "scene://street"}})
    return AppConfig.model_validate({"cameras": cameras, **sections})


def changes(before: AppConfig, after: AppConfig, old: Secrets = NONE, new: Secrets = NONE) -> Changes:
    return find_changes(before, after, old, new, {None})


def test_nothing_is_asked_where_nothing_changed() -> None:
    assert changes(config(), config()) == Changes((), (), broker=False, sinks=(), restart=())


@pytest.mark.parametrize(
    ("sections", "keys"),
    [
        ({"node": {"name": "other"}}, ("node.name",)),
        ({"model": {"head": "yolov8"}}, ("model.head",)),
        ({"inference": {"slots": 3, "threads": 2}}, ("inference.threads", "inference.slots")),
        ({"engine": {"calibration": {"frames": 99}}}, ("engine.calibration.frames",)),
        ({"mqtt": {"root": "x", "outbox": {"window": 3}}}, ("mqtt.root", "mqtt.outbox.window")),
        ({"mqtt": {"commands": {"enabled": True}}}, ("mqtt.commands.enabled",)),
        ({"log": {"level": "debug"}}, ()),
        ({"postprocess": {"iou_threshold": 0.5}}, ()),
        ({"models": {"faces": {"path": "demo"}}}, ()),
    ],
)
def test_what_needs_a_restart_is_named_and_stays(sections: dict[str, Any], keys: tuple[str, ...]) -> None:
    before, after = config(), config(**sections)
    found = changes(before, after)
    assert found.restart == keys
    assert not found.broker
    kept = in_force(before, after, found)
    assert changes(kept, after).restart == keys, "it is named again the next time"
    assert changes(kept, before).restart == (), "and what runs is what was there before"


@pytest.mark.parametrize(
    "mqtt",
    [
        {"uri": "mqtt://other"},
        {"username": "me"},
        {"tls": {"ca_file": "/a"}, "uri": "mqtts://localhost"},
        {"keepalive_s": 20},
        {"publish_empty": False},
    ],
)
def test_the_broker_may_change(mqtt: dict[str, Any]) -> None:
    before, after = config(), config(mqtt={**mqtt, "root": "x"})
    found = changes(before, after)
    assert found.broker
    assert found.restart == ("mqtt.root",)
    kept = in_force(before, after, found)
    assert kept.mqtt == after.mqtt.model_copy(update={"root": "edge"})
    assert not changes(kept, after).broker


def test_cameras_are_put_or_removed_by_what_they_are_in_the_end() -> None:
    one, two = {"uri": "scene://street?seed=1"}, {"uri": "scene://street?seed=2"}
    before = config(
        cameras={"same": one, "altered": one, "gone": one, "off": one, "on": {**one, "enabled": False}}
    )
    after = config(
        cameras={"same": one, "altered": two, "off": {**one, "enabled": False}, "on": one, "new": two}
    )
    found = changes(before, after)
    assert found.put == ("altered", "on", "new")
    assert found.removed == ("gone", "off")


def test_a_camera_of_a_model_that_is_not_loaded_needs_a_restart() -> None:
    street = {"uri": "scene://street"}
    before = config(cameras={"a": street, "b": street})
    models = {"faces": {"path": "demo"}}
    faces = {**street, "model": "faces"}
    after = config(cameras={"a": faces, "b": street, "c": faces}, models=models)
    found = changes(before, after)
    assert (found.put, found.removed, found.restart) == ((), (), ("cameras.a", "cameras.c"))
    kept = in_force(before, after, found)
    assert dict(kept.cameras) == dict(before.cameras)


@pytest.mark.parametrize("yard", [{}, {"yard": {"uri": "scene://street", "enabled": False}}])
def test_cameras_that_run_stay_until_a_restart_where_none_could_take_their_place(
    yard: dict[str, Any],
) -> None:
    door = {"uri": "scene://street", "model": "faces"}
    before, models = config(), {"faces": {"path": "demo"}}
    after = config(cameras={"door": door, **yard}, models=models)
    found = changes(before, after)
    assert (found.put, found.removed, found.restart) == ((), (), ("cameras.door", "cameras.yard"))
    kept = in_force(before, after, found)
    assert dict(kept.cameras) == dict(before.cameras)
    assert changes(kept, before) == changes(before, before), "it goes on as it was"
    gate = {"uri": "scene://street?seed=2"}
    found = changes(kept, config(cameras={"door": door, "gate": gate, **yard}, models=models))
    assert (found.put, found.removed, found.restart) == (("gate",), ("yard",), ("cameras.door",))


def test_of_cameras_that_run_only_perhaps_the_unwanted_go_also_where_the_others_stay() -> None:
    after = config(
        cameras={"door": {"uri": "scene://street", "model": "faces"}}, models={"faces": {"path": "demo"}}
    )
    found = find_changes(config(), after, NONE, NONE, {None}, {"cameras.gate"})
    assert (found.removed, found.restart) == (("gate",), ("cameras.door", "cameras.yard"))


def test_of_a_further_model_that_is_loaded_all_but_its_thresholds_needs_a_restart() -> None:
    models: dict[str, Any] = {"faces": {"path": "demo"}}
    before = config(models=models)
    after = config(models={"faces": {"path": "demo", "device": 1, "postprocess": {"iou_threshold": 0.2}}})
    loaded = find_changes(before, after, NONE, NONE, {None, "faces"})
    assert loaded.restart == ("models.faces.device",)
    assert changes(before, after).restart == (), "nobody feels it"
    assert find_changes(before, config(), NONE, NONE, {None, "faces"}).restart == ("models.faces",)


def test_a_password_that_changed_alone_changes_whose_it_is() -> None:
    off = {"type": "mqtt", "uri": "mqtt://x", "enabled": False}
    sinks = {"cloud": {"type": "mqtt", "uri": "mqtt://far"}, "off": off}
    same = config(sinks=sinks)
    old = Secrets("m", {"yard": "y"}, {"cloud": "c"})
    assert changes(same, same, old, old) == Changes((), (), broker=False, sinks=(), restart=())
    assert changes(same, same, old, Secrets("n", {"yard": "y"}, {"cloud": "c"})).broker
    assert changes(same, same, old, Secrets("m", {"yard": "z"}, {"cloud": "c"})).put == ("yard",)
    assert changes(same, same, old, Secrets("m", {"yard": "y"}, {"cloud": "d"})).sinks == ("cloud",)
    assert changes(same, config()).sinks == ("cloud",)
