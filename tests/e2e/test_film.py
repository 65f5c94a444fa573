"""A film walks through the real daemon: every frame, once, in order, and the daemon ends by itself."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Mosquitto, needs_mosquitto, until
from tests.e2e.conftest import FILM_FPS, FILM_FRAMES, FILM_SIZE, StartDaemon
from tests.e2e.daemon import BASE, NODE
from tests.publish.parts import Parts, Recorder

pytestmark = [pytest.mark.broker, needs_mosquitto]

CAMERA = f"{BASE}/camera/film"


def unix_s(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@pytest.fixture
def messages(
    start: StartDaemon, recorder: Recorder, mosquitto: Mosquitto, film: Path
) -> list[dict[str, Any]]:
    """The detections of a film that was played to its end; each message was checked against its schema."""
    until(lambda: recorder.connection.connected, "the recorder listens")
    daemon = start(mosquitto.uri, {"film": str(film)})
    assert daemon.until_ended() == 0
    assert "stopped: every camera has ended" in daemon.log
    until(lambda: recorder.states() and recorder.states()[-1] == "stopping", "the last state arrived")
    return recorder.on(f"{CAMERA}/detections")


def test_every_frame_is_published_once_and_in_order(
    messages: list[dict[str, Any]], recorder: Recorder
) -> None:
    assert [message["seq"] for message in messages] == list(range(FILM_FRAMES))
    assert [message["frame_id"] for message in messages] == list(range(FILM_FRAMES))
    assert [message["media_time_s"] for message in messages] == pytest.approx(
        [index / FILM_FPS for index in range(FILM_FRAMES)], abs=0.002
    )
    assert len({message["id"] for message in messages}) == FILM_FRAMES
    assert len({message["boot"] for message in messages}) == 1
    assert sum(len(message["objects"]) for message in messages) > FILM_FRAMES

    for message in messages:
        assert (message["node"], message["camera"], message["dropped_frames"]) == (NODE, "film", 0)
        assert message["image"] == {"width": FILM_SIZE[0], "height": FILM_SIZE[1]}
        for found in message["objects"]:
            x1, y1, x2, y2 = found["box_xyxy"]
            assert 0 <= x1 < x2 <= FILM_SIZE[0]
            assert 0 <= y1 < y2 <= FILM_SIZE[1]

    (info,) = recorder.on(f"{BASE}/info")
    assert info["cameras"] == ["film"]
    assert {key: info["model"][key] for key in messages[0]["model"]} == messages[0]["model"]
    assert messages[0]["model"]["backend"] == "onnxruntime"
    assert {found["label"] for message in messages for found in message["objects"]} <= set(
        info["model"]["labels"]
    )


def test_times_are_what_they_say(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        latency = message["latency_ms"]
        told_ms = 1000 * (unix_s(message["published_at"]) - unix_s(message["captured_at"]))
        stages = ("preprocess", "inference", "postprocess")
        assert all(latency[stage] > 0 for stage in ("capture", *stages))
        assert latency["total"] >= sum(latency[stage] for stage in stages) - 0.01
        assert latency["total"] == pytest.approx(told_ms, abs=20)
    captured = [unix_s(message["captured_at"]) for message in messages]
    assert captured == sorted(captured)


def test_states_tell_the_story_and_the_last_ones_stay(
    messages: list[dict[str, Any]], recorder: Recorder, mosquitto: Mosquitto, parts: Parts
) -> None:
    assert recorder.states()[-2:] == ["online", "stopping"]
    assert set(recorder.states()) <= {"starting", "online", "stopping"}
    assert recorder.states(f"{CAMERA}/status")[-2:] == ["streaming", "ended"]
    *_, health = recorder.on(f"{BASE}/health")
    assert health["cameras"]["film"]["captured"] == FILM_FRAMES
    assert health["cameras"]["film"]["published"] == FILM_FRAMES
    assert sum(health["cameras"]["film"]["dropped"].values()) == 0

    late = parts.recorder(mosquitto.uri)
    kept = {f"{BASE}/status", f"{BASE}/info", f"{CAMERA}/status"}
    until(lambda: len(late.retained()) >= len(kept), "the broker hands out what it kept")
    assert late.retained() == kept
    (status,), (camera,) = late.on(f"{BASE}/status"), late.on(f"{CAMERA}/status")
    assert (status["state"], status["reason"]) == ("stopping", "every camera has ended")
    assert (camera["state"], camera["reason"], camera["decoder"]) == ("ended", None, "ffmpeg")
