"""What PyAV reads: odd files, and streams that bring nothing for a while."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest

av = pytest.importorskip("av", reason="PyAV is not installed")

from edge_app.capture.demux import Address, Demuxer  # noqa: E402
from edge_app.errors import DecoderError  # noqa: E402
from edge_app.interfaces import DecodedPicture, EncodedPacket, VideoStream  # noqa: E402
from tests.capture.parts import index_of  # noqa: E402
from tests.capture.software_decoder import SoftwareDecoder, SoftwareDecoders, take  # noqa: E402
from tests.capture.test_device import encode, read_to_the_end, source_of  # noqa: E402

LATIN = "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode("latin-1")


def test_a_title_in_another_encoding_is_no_obstacle(tmp_path: Path) -> None:
    data = encode(io.BytesIO(), 5, container="matroska", title="cafe").getvalue()
    assert data.count(b"cafe") == 1
    (tmp_path / "a.mkv").write_bytes(data.replace(b"cafe", LATIN))
    demuxer = Demuxer(Address(str(tmp_path / "a.mkv"), live=False))
    assert demuxer.open().codec == "h264"
    assert demuxer.next()
    demuxer.close()


def test_one_sequence_has_one_decoder(tmp_path: Path) -> None:
    # In these containers the parameters come in band, and FFmpeg tells them beside as well.
    for name in ("a.ts", "a.h264"):
        decoders = SoftwareDecoders()
        pictures = read_to_the_end(source_of(encode(tmp_path / name, 30, bf="2"), decoders))
        assert [index_of(take(found)) for found in pictures] == list(range(30))
        assert len(decoders.made) == 1, name


def test_a_new_decoder_learns_the_parameters_that_came_but_once(tmp_path: Path) -> None:
    class Breaking(SoftwareDecoders):
        """The first of its decoders breaks after five packets."""

        def open(self, stream: VideoStream) -> SoftwareDecoder:
            decoder = super().open(stream)
            if len(self.made) == 1:
                whole, left = decoder.decode, iter(range(5))

                def decode(packet: EncodedPacket) -> Sequence[DecodedPicture]:
                    if next(left, None) is None:
                        raise DecoderError("it broke", retry=True)
                    return whole(packet)

                decoder.decode = decode  # type: ignore[method-assign]
            return decoder

    data = encode(io.BytesIO(), 30, container="h264", bf="0", tune="zerolatency").getvalue()
    first, *units = data.split(b"\0\0\1")[1:]
    kept = [first, units[0], *(unit for unit in units[1:] if unit[0] & 0x1F not in (7, 8))]
    (tmp_path / "a.h264").write_bytes(b"".join(b"\0\0\1" + unit for unit in kept))
    decoders = Breaking()
    pictures = read_to_the_end(source_of(tmp_path / "a.h264", decoders))
    # The next keyframe is the tenth.
    assert [index_of(take(found)) for found in pictures] == [*range(5), *range(10, 30)]
    assert len(decoders.made) == 2
