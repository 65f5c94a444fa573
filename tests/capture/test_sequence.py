from __future__ import annotations

import io

import cv2
import numpy as np
import pytest

from edge_app.capture.sequence import sequence_of
from tests.capture.parts import picture

av = pytest.importorskip("av", reason="PyAV is not installed")

from tests.capture.test_device import encode  # noqa: E402


def packets(codec: str, size: tuple[int, int], container: str, **options: str) -> list[bytes]:
    data = encode(io.BytesIO(), 12, size=size, codec=codec, container=container, **options)  # type: ignore[arg-type]
    data.seek(0)
    with av.open(data, format=container) as stream:
        return [bytes(packet) for packet in stream.demux(video=0) if packet.size]


@pytest.mark.parametrize(
    ("codec", "name", "options"),
    [
        ("libx264", "h264", {"bf": "0"}),
        ("libx265", "hevc", {"x265-params": "log-level=none:bframes=0:keyint=5"}),
    ],
)
def test_a_keyframe_tells_its_sequence(codec: str, name: str, options: dict[str, str]) -> None:
    small, large = (packets(codec, size, name, **options) for size in ((320, 240), (640, 360)))
    told = [sequence_of(name, packet) for packet in small]
    assert told[0]
    # It comes with keyframes, and is the same each time.
    assert set(told) == {told[0], b""}
    assert 2 <= sum(map(bool, told)) < len(told)
    assert sequence_of(name, large[0]) not in ("", told[0])


def test_a_jpeg_tells_its_size() -> None:
    def jpeg(index: int, size: tuple[int, int]) -> bytes:
        return bytes(cv2.imencode(".jpg", picture(index, size))[1])

    first = sequence_of("mjpeg", jpeg(1, (320, 240)))
    assert first
    assert first == sequence_of("mjpeg", jpeg(9, (320, 240)))
    assert first != sequence_of("mjpeg", jpeg(1, (640, 360)))


@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg", "vp9"])
def test_anything_at_all_is_read_without_a_stumble(codec: str) -> None:
    random = np.random.default_rng(0)
    for length in (0, 1, 2, 3, 4, 5, 100, 1000):
        for _ in range(50):
            noise = random.integers(0, 4, length, np.uint8).tobytes()
            assert isinstance(sequence_of(codec, noise), bytes)
            assert isinstance(sequence_of(codec, b"\xff\xd8\xff\xe0" + noise), bytes)
            assert isinstance(sequence_of(codec, b"\0\0\1"), bytes)
