from __future__ import annotations

import time

import numpy as np
import pytest

from edge_app.capture.factory import create_source
from edge_app.errors import EndOfStream
from edge_app.scene import StreetScene
from tests.capture.parts import read_all, section, wait_until

SCENE = "scene://street?seed=3&size=160x96&fps=20"


def test_a_scene_that_is_not_live_renders_every_frame() -> None:
    source = create_source("street", section(f"{SCENE}&live=false&frames=6"), None)
    assert source.live is False
    pictures = read_all(source)
    assert [found.media_time_s for found in pictures] == [index / 20 for index in range(6)]


def test_the_pixels_are_those_of_the_scene() -> None:
    pictures = read_all(create_source("street", section(f"{SCENE}&live=false&frames=3"), None))
    scene = StreetScene(seed=3, width=160, height=96, fps=20)
    assert all(np.array_equal(found.array, scene.render(index)) for index, found in enumerate(pictures))


def test_a_late_reader_of_a_live_scene_finds_a_later_frame() -> None:
    source = create_source("street", section(SCENE), None)
    assert source.live is True
    source.open()
    first = source.read(1.0)
    begin_s = time.monotonic()
    wait_until(lambda: time.monotonic() - begin_s > 0.3)
    second = source.read(1.0)
    assert first is not None
    assert second is not None
    assert first.media_time_s is not None
    assert second.media_time_s is not None
    assert second.media_time_s - first.media_time_s >= 0.2
    source.close()


def test_a_live_scene_keeps_time() -> None:
    source = create_source("street", section("scene://street?size=64x48&fps=0.1"), None)
    source.open()
    assert source.read(1.0) is not None  # the first rendering may take its time
    assert source.read(0.01) is None
    source.close()


def test_a_live_scene_ends_after_its_frames() -> None:
    source = create_source("street", section(f"{SCENE}&frames=4"), None)
    pictures = read_all(source)
    times = [found.media_time_s or 0.0 for found in pictures]
    assert times == sorted(set(times))
    assert max(times) < 4 / 20
    with pytest.raises(Exception, match="not open"):
        source.read(0.1)


def test_max_fps_skips_frames_of_a_scene() -> None:
    pictures = read_all(create_source("street", section(f"{SCENE}&live=false&frames=20", max_fps=5.0), None))
    assert [found.media_time_s for found in pictures] == [0.0, 0.2, 0.4, 0.6, 0.8]


def test_the_last_frame_is_followed_by_the_end() -> None:
    source = create_source("street", section(f"{SCENE}&live=false&frames=1"), None)
    source.open()
    assert source.read(1.0) is not None
    with pytest.raises(EndOfStream):
        source.read(1.0)
