"""The street's benchmark, with the real model on the CPU."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from edge_app.app.detector import Detector, open_detector
from edge_app.bench import street
from edge_app.bench.instant import instant_detector
from edge_app.bench.memory_camera import BUFFERS, MemorySource
from edge_app.bench.street import Load, as_json, measure_street
from edge_app.bench.street_report import bottleneck, report_lines
from edge_app.capture.pool import OrdinaryMemory
from edge_app.config.models import AppConfig, InferenceSection
from edge_app.errors import CaptureError, StageFailedError
from tests.processes import edge_app_says

PICTURES = [np.full((4, 6, 3), value, np.uint8) for value in (1, 2)]


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Detector]:
    monkeypatch.setattr(street, "WARM_UP_S", 0.1)
    opened = open_detector(AppConfig(inference=InferenceSection(backend="onnxruntime", max_batch=2)))
    yield opened
    opened.backend.close()


def test_as_fast_as_it_goes_nothing_is_dropped(detector: Detector) -> None:
    found = measure_street(detector, Load(cameras=2, size=(320, 240), seconds=0.5))
    assert found.frames_per_s > 0
    assert found.dropped == {}
    assert list(found.latency_ms) == sorted(found.latency_ms)
    assert found.from_lane_ms[0] <= found.latency_ms[0]
    assert set(found.stages_ms) == {"waiting", "preprocess", "inference", "postprocess"}
    assert found.stages_ms["inference"][0] > 0


def test_what_live_cameras_send_is_processed_or_counted_as_dropped(detector: Detector) -> None:
    found = measure_street(detector, Load(cameras=1, fps=200, size=(320, 240), seconds=0.5))
    processed = found.frames_per_s * 0.5
    assert found.captured == pytest.approx(processed + sum(found.dropped.values()), abs=8)
    assert found.dropped.get("superseded", 0) > 0


def test_a_round_without_a_frame_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(street, "WARM_UP_S", 0.0)
    load = Load(cameras=1, fps=0.1, size=(64, 48), seconds=0.2)
    found = as_json(measure_street(instant_detector(AppConfig()), load))
    assert found["frames_per_s"] == 0
    result = {"fps": 0.1, "cameras": 1, "source": "memory", "model": "none", "median": found}
    assert bottleneck(result).startswith("unknown: within a round no frame came;")
    about = {"what": "", "cameras": 1, "processes": 1, "size": load.size, "rounds": [found]}
    assert "captured to encoded    p50 / p95 / p99 ms: no frame" in report_lines(about | result)


@pytest.mark.parametrize(
    ("frames_per_s", "dropped", "words"),
    [
        (2990.0, {}, "nothing: everything that was offered was processed"),
        (1585.0, {}, "the source: 1585 of the 3000 frames/s that were asked for came, decoded or rendered"),
        (1585.0, {"superseded": 9}, "the model on the CPU"),
    ],
)
def test_what_limits_cameras_of_a_pace(frames_per_s: float, dropped: dict[str, int], words: str) -> None:
    middle = {"latency_ms": [1.0], "dropped": dropped, "frames_per_s": frames_per_s, "threads_us": {}}
    result = {"fps": 30, "cameras": 100, "source": "memory", "model": "m", "median": middle}
    assert bottleneck(result) == words


def test_a_stage_that_fails_ends_the_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise ValueError("no good")

    detector = replace(instant_detector(AppConfig()), detect=fail)
    with pytest.raises(StageFailedError, match="'postprocess' failed: ValueError: no good"):
        measure_street(detector, Load(cameras=1, size=(64, 48)))


def test_a_source_that_ends_too_early_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(street, "WARM_UP_S", 20.0)
    load = Load(cameras=1, size=(64, 48), source="scene://street?size=64x48&fps=100&frames=3")
    with pytest.raises(CaptureError, match="has ended before a round began"):
        measure_street(instant_detector(AppConfig()), load)


def test_pictures_in_memory_are_lent_and_taken_back() -> None:
    source = MemorySource(PICTURES, OrdinaryMemory(), None, 0.0)
    source.open()
    lent = [source.read(0.1) for _ in range(BUFFERS)]
    assert [picture.array[0, 0, 0] for picture in lent if picture][:3] == [1, 2, 1]
    assert source.read(0.01) is None
    last = lent[-1]
    assert last is not None
    assert last.lease is not None
    last.lease.release()
    last.lease.release()
    again = source.read(0.01)
    assert again is not None
    assert again.pixels is last.pixels
    assert source.read(0.01) is None


def test_a_live_camera_without_a_free_buffer_misses_frames() -> None:
    source = MemorySource(PICTURES, OrdinaryMemory(), 1000.0, 0.0)
    source.open()
    assert source.live
    while source.read(0.1) is not None:
        pass
    assert source.missed == 1


def test_the_command_prints_and_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "street.json"
    (tmp_path / "edge.yaml").write_text("inference: {backend: onnxruntime, max_batch: 1}\n")
    options = ("--cameras", "1", "--seconds", "0.5", "--rounds", "1", "--size", "320x240", "--json", path)
    done = edge_app_says("bench", "street", "--config", tmp_path / "edge.yaml", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "captured to encoded    p50 / p95 / p99 ms" in done.stdout
    written = json.loads(path.read_text())
    assert written["median"]["frames_per_s"] > 0
    assert "raw" not in written


def test_charts_overload_and_capacity_without_a_model(tmp_path: Path) -> None:
    chart, numbers = tmp_path / "street.svg", tmp_path / "street.json"
    done = edge_app_says(
        *("bench", "street", "--backend", "none", "--batch", "4", "--cameras", "2", "--size", "64x48"),
        *(
            "--seconds",
            "0.5",
            "--rounds",
            "1",
            "--overload",
            "--capacity",
            "--fps",
            "1000",
            "--latency-ms",
            "1",
        ),
        *("--json", numbers, "--plot", chart),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "limited by: " in done.stdout
    found = json.loads(numbers.read_text())
    assert found["slots"] == 4
    assert found["median"]["objects"] == 10
    assert set(found["median"]["threads_us"]) >= {"capture", "feeder", "postprocess"}
    assert found["overload"]["share"] > 0
    assert found["capacity"]["trials"]
    assert "lane exit to encoded" in chart.read_text()


def test_a_rendered_scene_can_be_the_source() -> None:
    done = edge_app_says(
        *("bench", "street", "--backend", "none", "--source", "scene", "--cameras", "1", "--fps", "20"),
        *("--size", "160x120", "--seconds", "0.5", "--rounds", "1"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "source scene" in done.stdout
    assert "dropped none" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--plot", "chart.pdf"), "written as PNG or SVG, found 'chart.pdf'"),
        (("--plot", "nowhere/chart.png"), "nowhere/chart.png cannot be written: No such file or directory"),
        (
            ("--json", "nowhere/street.json"),
            "nowhere/street.json cannot be written: No such file or directory",
        ),
        (("--source", "nowhere.mp4"), "nothing to measure: camera0 is lost: there is no file nowhere.mp4"),
        (("--source", "empty"), "nothing to measure: camera0 is lost: there are no pictures at empty"),
        (("--source", ""), "the source is empty"),
        (("--source", "scene", "--fps", "1001"), "at most 1000 frames a second come from a source"),
        (("--fps", "0"), "a number above 0, found 0"),
        (("--fps", "-3"), "a number above 0, found -3"),
        (("--fps", "nan"), "a number above 0, found nan"),
        (("--fps", "inf"), "a number above 0, found inf"),
        (("--seconds", "inf"), "a number above 0, found inf"),
        (("--source", "scene", "--capacity"), "measured with frames in memory"),
    ],
)
def test_what_cannot_be_measured_is_said_first(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    short = ("--cameras", "1", "--rounds", "1", "--size", "64x48")
    began_s = time.monotonic()
    done = edge_app_says("bench", "street", "--backend", "none", *short, *options, cwd=tmp_path)
    assert time.monotonic() - began_s < street.FIRST_FRAMES_S / 2
    assert done.returncode != 0
    assert words in " ".join(done.stderr.split())
