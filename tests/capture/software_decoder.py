"""Decoders that keep the promises of a GPU's, in software: their "device memory" is that of the host."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from edge_app.errors import DecoderError
from edge_app.interfaces import DecodedPicture, EncodedPacket, Picture, VideoStream
from edge_app.messages import PixelFormat, Surface
from edge_app.preprocess.host_picture import host_picture


@dataclass
class SoftwareDecoders:
    """A `VideoDecoders`; counts what it lends.

    Attributes:
        refuse: Says that no decoder can be had.
        fail_after: A decoder fails for good after so many packets.
    """

    name: str = "software"
    refuse: bool = False
    fail_after: int | None = None
    lent: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    made: list[SoftwareDecoder] = field(default_factory=list)

    def open(self, stream: VideoStream) -> SoftwareDecoder:
        if self.refuse:
            raise DecoderError("no decoder can be had")
        self.made.append(SoftwareDecoder(self, stream))
        return self.made[-1]


class SoftwareDecoder:
    """A `VideoDecoder`: one size each, as a hardware decoder's pool has."""

    def __init__(self, decoders: SoftwareDecoders, stream: VideoStream) -> None:
        self._decoders = decoders
        self._context: Any = av.CodecContext.create(stream.codec, "r")
        self._context.thread_count = 1
        self._size: tuple[int, int] | None = None
        self._packets = 0
        self.closed = False

    def decode(self, packet: EncodedPacket) -> Sequence[DecodedPicture]:
        self._packets += 1
        if self._decoders.fail_after is not None and self._packets > self._decoders.fail_after:
            raise DecoderError("the decoder is broken")
        data = av.Packet(packet.data)
        try:
            return [self._lend(frame) for frame in self._context.decode(data)]
        except av.error.InvalidDataError:
            return []  # hardware says nothing of a damaged picture either

    def finish(self) -> Sequence[DecodedPicture]:
        found = [self._lend(frame) for frame in self._context.decode(None)]
        self._context.flush_buffers()
        return found

    def close(self) -> None:
        self.closed = True

    def _lend(self, frame: Any) -> DecodedPicture:
        size = (frame.width, frame.height)
        if self._size not in (None, size):
            raise DecoderError(f"the pictures changed from {self._size} to {size}", retry=True)
        self._size = size
        pixels = np.ascontiguousarray(frame.reformat(format="nv12").to_ndarray())
        address = pixels.__array_interface__["data"][0]
        self._decoders.lent[address] = pixels
        surface = Surface(0, address, address + size[0] * size[1], size[0])
        return DecodedPicture(surface, size, PixelFormat.NV12, _Lease(self._decoders.lent, address))


class _Lease:
    pinned = False

    def __init__(self, lent: dict[int, NDArray[np.uint8]], address: int) -> None:
        self._lent, self._address = lent, address

    def release(self) -> None:
        self._lent.pop(self._address, None)


def take(picture: Picture) -> NDArray[np.uint8]:
    """The picture in BGR; its lease is returned."""
    surface, (width, height) = picture.pixels, picture.width_height
    assert isinstance(surface, Surface)
    assert picture.lease is not None
    data = ctypes.string_at(surface.address, width * height * 3 // 2)
    nv12 = np.frombuffer(data, np.uint8).reshape(height * 3 // 2, width)
    picture.lease.release()
    return host_picture(nv12, (width, height), PixelFormat.NV12, picture.colors)
