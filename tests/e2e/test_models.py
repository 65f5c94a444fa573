"""Two models in one daemon: each camera's frames go to its own, and subscribers are told which."""

from __future__ import annotations

import pytest

from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemon import BASE
from tests.publish.parts import Recorder

pytestmark = [pytest.mark.broker, needs_mosquitto]

STREET = "scene://street?seed=1&size=640x360&fps=5"


def test_each_camera_is_seen_by_its_model(
    start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto
) -> None:
    daemon = start(
        mosquitto.uri,
        {"yard": STREET, "door": {"uri": STREET, "model": "none"}, "gate": {"uri": STREET, "model": "none"}},
        # Nothing is as certain as this model wants it.
        models={"none": {"path": "demo", "postprocess": {"confidence_threshold": 1.0}}},
    )
    found = {name: f"{BASE}/camera/{name}/detections" for name in ("yard", "door", "gate")}
    until(lambda: all(len(recorder.on(topic)) >= 5 for topic in found.values()), "every camera is seen")
    assert any(message["objects"] for message in recorder.on(found["yard"]))
    assert not any(message["objects"] for name in ("door", "gate") for message in recorder.on(found[name]))
    (info,) = recorder.on(f"{BASE}/info")
    assert info["cameras"] == ["yard", "door", "gate"]
    assert info["model"]["name"] == "demo"
    found_models = [(model["configured_name"], model["cameras"]) for model in info["models"]]
    assert found_models == [(None, ["yard"]), ("none", ["door", "gate"])]  # of the same file
    assert "models.none: model demo (sha256 " in daemon.log
    assert daemon.stop() == 0


def test_a_model_that_cannot_be_loaded_ends_the_daemon_with_its_name(
    start: StartDaemon, mosquitto: Mosquitto
) -> None:
    mosquitto.start()
    daemon = start(
        mosquitto.uri,
        {"yard": STREET, "door": {"uri": STREET, "model": "odd"}},
        models={"odd": {"path": "demo", "labels": ["only", "two"]}},
    )
    assert daemon.until_ended() == 78
    assert "models.odd" in daemon.log
    assert "With 2 labels" in daemon.log
