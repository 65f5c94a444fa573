"""Decoders that fail now and then, at the end, or again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

av = pytest.importorskip("av", reason="PyAV is not installed")

from edge_app.errors import DecoderError  # noqa: E402
from edge_app.interfaces import DecodedPicture, EncodedPacket, VideoStream  # noqa: E402
from tests.capture.parts import index_of  # noqa: E402
from tests.capture.software_decoder import SoftwareDecoder, SoftwareDecoders, take  # noqa: E402
from tests.capture.test_device import encode, read_to_the_end, source_of  # noqa: E402


class Troubled(SoftwareDecoders):
    """Decoders that `trouble` is done to."""

    def __init__(self, trouble: Callable[[SoftwareDecoder], None]) -> None:
        super().__init__()
        self._trouble = trouble

    def open(self, stream: VideoStream) -> SoftwareDecoder:
        decoder = super().open(stream)
        self._trouble(decoder)
        return decoder


def refuse_to_finish(decoder: SoftwareDecoder) -> None:
    def finish() -> Sequence[DecodedPicture]:
        raise DecoderError("it fails at the end", retry=True)

    decoder.finish = finish  # type: ignore[method-assign]


def break_after_a_picture(decoder: SoftwareDecoder) -> None:
    whole, left = decoder.decode, iter(range(1))

    def decode(packet: EncodedPacket) -> Sequence[DecodedPicture]:
        if next(left, None) is None:
            raise DecoderError("it broke", retry=True)
        return whole(packet)

    decoder.decode = decode  # type: ignore[method-assign]


def test_a_decoder_that_fails_at_the_end_costs_what_it_held_back(tmp_path: Path) -> None:
    decoders = Troubled(refuse_to_finish)
    path = encode(tmp_path / "a.mp4", 20, bf="0", tune="zerolatency")
    pictures = read_to_the_end(source_of(path, decoders))
    assert [index_of(take(found)) for found in pictures] == list(range(20))
    source = source_of(path, decoders, loop=True)
    source.open()
    found = [source.read(5.0) for _ in range(45)]
    assert [index_of(take(each)) for each in found if each] == [*range(20), *range(20), *range(5)]
    source.close()
    assert not decoders.lent
    assert all(decoder.closed for decoder in decoders.made)


def test_a_decoder_that_breaks_again_and_again_is_given_up(tmp_path: Path) -> None:
    decoders = Troubled(break_after_a_picture)
    source = source_of(encode(tmp_path / "a.mp4", 300, bf="0", tune="zerolatency"), decoders)
    with pytest.raises(DecoderError, match="it broke"):
        read_to_the_end(source)
    assert 2 <= len(decoders.made) <= 5
    assert all(decoder.closed for decoder in decoders.made)


def test_a_decoder_waits_for_no_picture_that_its_own_reader_holds(tmp_path: Path) -> None:
    lent: list[int] = []

    def count_when_closed(decoder: SoftwareDecoder) -> None:
        close = decoder.close

        def closing() -> None:
            lent.append(len(decoders.lent))
            close()

        decoder.close = closing  # type: ignore[method-assign]

    decoders = Troubled(count_when_closed)
    sizes = ((320, 240), (640, 360))
    both = [encode(tmp_path / f"{size[0]}.h264", 12, size=size, bf="3", preset="medium") for size in sizes]
    (tmp_path / "a.h264").write_bytes(b"".join(path.read_bytes() for path in both))
    source = source_of(tmp_path / "a.h264", decoders)
    source.open()
    for _ in range(20):
        found = source.read(5.0)
        assert found is not None
        take(found)
    source.close()
    assert len(decoders.made) == 2
    assert lent == [0, 0]
