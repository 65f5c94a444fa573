"""The sink that is a file: everything that is said, in order, and what the disk does not take is counted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_app.config.models import JsonlSinkSection
from edge_app.errors import PublishError
from edge_app.messages import CameraState, CameraStatus, DropReason, NodeState
from edge_app.publish.encoders.make import encoder_of_file
from edge_app.publish.jsonl import rotating
from edge_app.publish.jsonl import sink as sink_module
from edge_app.publish.jsonl.rotating import RotatingFile
from edge_app.publish.jsonl.sink import FileSink
from tests.brokers import until
from tests.publish.parts import INFO, Neighbours, check, detections


class Made:
    """A sink in a folder, with what it tells."""

    def __init__(self, folder: Path, *, max_bytes: int = 1 << 20, max_files: int = 3, **keys: Any) -> None:
        section = JsonlSinkSection(type="jsonl", **keys)
        self.folder, self.neighbours, self.troubles = folder, Neighbours(), list[str | None]()
        self.file = RotatingFile(folder, "log", max_bytes=max_bytes, max_files=max_files, synced=False)
        self.sink = FileSink(
            "log",
            self.file,
            encoder_of_file(section, "node-1", "0a" * 16),
            queue_size=section.queue_size,
            health_interval_s=section.health_interval_s,
            publish_empty=section.publish_empty,
            drops=self.neighbours,
            observed=self.neighbours,
            trouble=self.troubles.append,
        )

    def lines(self, kind: str = "") -> list[dict[str, Any]]:
        """Return every message of a kind, the oldest file first."""
        full = sorted(self.folder.glob("log.*.jsonl"))
        current = self.folder / "log.jsonl"
        texts = [
            path.read_text(encoding="utf-8") for path in (*full, *([current] if current.is_file() else []))
        ]
        messages = [json.loads(text) for whole in texts for text in whole.split("\n") if text]
        return [message for message in messages if kind in message.get("schema", "")]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    made = Made(tmp_path / "logs")
    yield made
    made.sink.stop(1.0)


def put(made: Made, frame_ids: range, count: int = 2) -> None:
    for frame_id in frame_ids:
        made.sink.put(detections(frame_id, count), wait=False)


def test_everything_that_is_said_is_a_line(made: Made) -> None:
    made.sink.set_node_state(NodeState.STARTING)
    made.sink.start()
    made.sink.set_info(INFO)
    made.sink.camera_changed(CameraStatus("gate", CameraState.STREAMING))
    made.sink.set_node_state(NodeState.ONLINE)
    put(made, range(500))
    made.sink.set_node_state(NodeState.STOPPING)
    assert made.sink.stop(5.0)
    for message in made.lines():
        check(message)
    found = made.lines("edge.detections")
    assert [message["seq"] for message in found] == list(range(500))
    assert [message["frame_id"] for message in found] == list(range(500))
    assert [message["state"] for message in made.lines("node_status")] == ["starting", "online", "stopping"]
    assert len(made.lines("info")) == len(made.lines("camera_status")) == 1
    assert made.lines()[-1]["schema"].startswith("edge.health"), "so that it counts all"
    assert made.sink.state().written == 500
    assert made.sink.state().dropped == {}


def test_files_are_put_aside_and_every_line_stays_whole(tmp_path: Path) -> None:
    made = Made(tmp_path, max_bytes=20_000, max_files=4)
    made.sink.start()
    made.sink.set_info(INFO)
    put(made, range(400))
    assert made.sink.stop(5.0)
    numbers = [message["seq"] for message in made.lines("edge.detections")]
    assert len(list(tmp_path.iterdir())) == 4
    assert 20 < len(numbers) < 400
    assert numbers == list(range(400 - len(numbers), 400))


def test_deepstream_frames_alone(tmp_path: Path) -> None:
    made = Made(tmp_path, encoder="deepstream", publish_empty=False)
    made.sink.start()
    made.sink.set_info(INFO)
    made.sink.set_node_state(NodeState.ONLINE)
    put(made, range(3))
    put(made, range(3, 5), count=0)
    assert made.sink.stop(5.0)
    assert [(line["id"], line["sensorId"], len(line["objects"])) for line in made.lines()] == [
        (number, "gate", 2) for number in range(3)
    ]


def test_health_does_not_push_out_the_states_that_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "RETRY_S", 0.02)
    monkeypatch.setattr(sink_module, "MOST_STATES", 5)
    folder = tmp_path / "logs"
    folder.write_text("a file where the directory should be")
    made = Made(folder)
    made.sink._health_interval_s = 0.02
    made.sink.set_info(INFO)
    made.sink.set_node_state(NodeState.ONLINE)
    made.sink.start()
    until(lambda: made.sink._problem is not None, "it is told")
    time.sleep(0.5)  # in which health is due twenty times
    folder.unlink()
    until(lambda: folder.is_dir() and bool(made.lines("edge.health")), "it is written")
    kinds = [message["schema"].partition("/")[0] for message in made.lines()]
    assert kinds[:2] == ["edge.info", "edge.node_status"]
    made.sink.stop(1.0)


def test_a_directory_that_cannot_be_made_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sink_module, "RETRY_S", 0.1)
    folder = tmp_path / "logs"
    folder.write_text("a file where the directory should be")
    made = Made(folder)
    made.sink.start()
    made.sink.set_info(INFO)
    until(lambda: made.troubles, "the trouble is told")
    assert str(folder) in (made.troubles[0] or "")
    put(made, range(10))
    assert made.neighbours.drops == {DropReason.FILE_UNWRITABLE: 10}
    assert made.sink.state().problem == made.troubles[0]
    time.sleep(0.5)
    assert len(made.troubles) == 1, "once, not at every attempt"
    assert caplog.text.count("[file_unwritable]") == 1
    folder.unlink()
    until(lambda: made.troubles[-1] is None, "it works again")
    put(made, range(10, 20))
    assert made.sink.stop(5.0)
    assert [message["frame_id"] for message in made.lines("edge.detections")] == list(range(10, 20))
    assert made.lines("edge.info"), "states have waited"
    assert made.sink.state().dropped == {DropReason.FILE_UNWRITABLE: 10}


def test_a_full_disk_costs_lines_and_nothing_else(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "RETRY_S", 0.1)
    made.sink.start()
    made.sink.set_info(INFO)
    put(made, range(10))
    until(lambda: made.sink.state().written == 10, "ten lines")
    monkeypatch.setattr(rotating, "RESERVE_BYTES", 1 << 62)
    put(made, range(10, 20))
    until(lambda: made.neighbours.drops[DropReason.FILE_UNWRITABLE] == 10, "they are counted")
    assert "no space left" in (made.troubles[-1] or "")
    monkeypatch.setattr(rotating, "RESERVE_BYTES", 1)
    made.sink.camera_changed(CameraStatus("gate", CameraState.STREAMING))
    until(lambda: made.troubles[-1] is None, "it works again")
    put(made, range(20, 30))
    assert made.sink.stop(5.0)
    found = made.lines("edge.detections")
    assert [message["frame_id"] for message in found] == [*range(10), *range(20, 30)]
    assert found[-1]["dropped_frames"] == 10


def test_a_disk_that_hangs_is_told_of_until_it_answers(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "HANGS_S", 0.3)
    made.sink.start()
    made.sink.set_info(INFO)
    put(made, range(1))
    until(lambda: made.sink.state().written == 1, "it works")
    goes_on, write = threading.Event(), made.file.write
    monkeypatch.setattr(made.file, "write", lambda lines: (goes_on.wait(20), write(lines))[1])

    def told() -> bool:
        put(made, range(1))
        return bool(made.troubles)

    until(told, "the trouble is told")
    assert "the disk has not answered for" in (made.troubles[0] or "")
    time.sleep(0.1)
    put(made, range(1))
    assert len(made.troubles) == 1, "once"
    assert made.sink.state().problem == made.troubles[0]
    goes_on.set()
    until(lambda: made.troubles[-1] is None, "it works again")
    assert made.sink.stop(5.0)
    assert made.sink.state().problem is None


def test_what_waits_at_most_is_bounded(tmp_path: Path) -> None:
    made = Made(tmp_path, queue_size=5)
    made.sink.set_info(INFO)
    put(made, range(20))  # nobody writes yet
    assert made.neighbours.drops == {DropReason.PUBLISH_QUEUE_FULL: 15}
    made.sink.start()
    assert made.sink.stop(5.0)
    assert [message["frame_id"] for message in made.lines("edge.detections")] == list(range(15, 20))
    put(made, range(1))
    assert made.neighbours.drops[DropReason.SHUTDOWN] == 1


def test_a_fault_of_our_own_ends_the_sink_alone(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    made.neighbours.health_error = RuntimeError("no health")
    made.sink.start()
    made.sink.set_info(INFO)
    until(lambda: made.troubles, "the end is told")
    assert "it has ended (RuntimeError: no health)" in (made.troubles[0] or "")
    put(made, range(3))
    assert made.neighbours.drops == {DropReason.FILE_UNWRITABLE: 3}


def test_detections_before_the_labels_are_a_fault(made: Made) -> None:
    with pytest.raises(PublishError):
        put(made, range(1))
