"""What an encoded picture says of its sequence: a change of it is a change of size, profile or depth.

Hardware decoders that are told nothing scale the pictures of a new size to the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

H264_PARAMETER_SETS, H264_PICTURES = {7}, range(1, 6)
"""`nal_unit_type` of ITU-T H.264, table 7-1: the sequence's parameters, and slices of pictures."""
HEVC_PARAMETER_SETS, HEVC_PICTURES = {32, 33}, range(32)
"""`nal_unit_type` of ITU-T H.265, table 7-1."""
JPEG_FRAME_HEADERS = {0xC0, 0xC1, 0xC2}
"""The markers SOF0 to SOF2 of ITU-T T.81."""
JPEG_SCAN = 0xDA
"""The marker SOS of ITU-T T.81."""


def sequence_of(codec: str, data: bytes) -> bytes:
    """Return what differs where a decoder must start anew; empty where a packet says nothing of it.

    Args:
        codec: FFmpeg's name.
        data: A packet; H.264 and H.265 in Annex B's format.
    """
    read = _READERS.get(codec)
    return b"" if read is None else read(data)


def _units(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each unit of Annex B's format begins and ends."""
    begin = data.find(b"\0\0\1")
    while begin >= 0:
        end = data.find(b"\0\0\1", begin + 3)
        yield begin + 3, len(data) if end < 0 else end
        begin = end


def _h264(data: bytes) -> bytes:
    return _parameter_sets(data, lambda first: first & 0x1F, H264_PARAMETER_SETS, H264_PICTURES)


def _hevc(data: bytes) -> bytes:
    return _parameter_sets(data, lambda first: first >> 1 & 0x3F, HEVC_PARAMETER_SETS, HEVC_PICTURES)


def _parameter_sets(
    data: bytes, kind_of: Callable[[int], int], wanted: Collection[int], pictures: Collection[int]
) -> bytes:
    """Return the wanted units in front of the picture; `kind_of` reads a unit's type in its first byte."""
    found = []
    for begin, end in _units(data):
        kind = kind_of(data[begin]) if begin < end else None
        if kind in pictures:
            break
        if kind in wanted:
            found.append(data[begin:end].rstrip(b"\0"))
    return b"".join(found)


def _jpeg(data: bytes) -> bytes:
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != JPEG_SCAN:
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] in JPEG_FRAME_HEADERS:
            return data[place : place + 2 + length]
        place += 2 + max(2, length)
    return b""


_READERS: dict[str, Callable[[bytes], bytes]] = {"h264": _h264, "hevc": _hevc, "mjpeg": _jpeg}
