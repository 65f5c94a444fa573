"""Encoded pictures of a file or a network stream, through PyAV (FFmpeg's libraries)."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from importlib import import_module
from typing import Any

from edge_app.capture.sequence import sequence_of
from edge_app.errors import CaptureError, DecoderError, EndOfStream
from edge_app.interfaces import EncodedPacket, VideoStream
from edge_app.messages import YuvColors, YuvMatrix

logger = logging.getLogger(__name__)

NAMES = {"libdav1d": "av1", "libvpx-vp9": "vp9", "libvpx": "vp8", "libaom-av1": "av1"}
"""Codecs that FFmpeg calls by the library that decodes them."""

FILTERS = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb", "vp9": "vp9_superframe_split"}
"""What makes of each packet what hardware decoders take; what is so already passes unchanged."""

MATRICES = {1: YuvMatrix.BT709, 9: YuvMatrix.BT2020, 10: YuvMatrix.BT2020}
"""`AVColorSpace` by number, as ITU-T H.273 has them; any other is taken for BT.601."""
FULL_RANGE = 2
"""`AVCOL_RANGE_JPEG`."""

PARAMETERS_APART = frozenset({"h264", "hevc"})
"""Codecs whose packets some containers keep in a format of their own, with the parameters elsewhere."""

START_CODES = (b"\0\0\1", b"\0\0\0\1")
"""What begins each unit of H.264 and H.265 in Annex B's format."""

PRODUCER_TIME = "prft"
"""Side data of a packet: `AVProducerReferenceTime`, microseconds of Unix time and flags. FFmpeg works it out
from the RTCP sender reports of an RTSP camera."""


@lru_cache(maxsize=1)
def demux_library() -> Any:
    """Return the module `av`, which is told to be silent: its messages may hold a camera's password.

    Raises:
        DecoderError: It is not installed.
    """
    try:
        library = import_module("av")
    except ImportError as error:
        hint = "pip install 'edge-app[nvdec]'"
        raise DecoderError(f"PyAV cannot be imported: {error}", hint=hint) from None
    library.logging.set_level(None)
    library.logging.set_libav_level(library.logging.PANIC)
    return library


@dataclass(frozen=True, slots=True)
class Address:
    """What is read, and how.

    Attributes:
        target: Path or URL; may hold credentials.
        live: Whether time goes on without us.
        options: FFmpeg's, for opening.
        open_timeout_s: Longest wait for a connection, in seconds; None: for ever.
        read_timeout_s: Longest wait for a packet, in seconds; None: for ever.
        explain: Says why it could not be opened.
        turned_degrees: Says how far its pictures are turned before they are shown.
    """

    target: str = field(repr=False)
    live: bool
    options: Mapping[str, str] = field(default_factory=dict)
    open_timeout_s: float | None = None
    read_timeout_s: float | None = None
    explain: Callable[[], str] = lambda: "it could not be opened"
    turned_degrees: Callable[[], int] = lambda: 0


class Demuxer:
    """The video packets of one connection, from the first keyframe on. Used by one thread.

    Args:
        address: What is read.

    Raises:
        DecoderError: PyAV is not installed.
    """

    def __init__(self, address: Address) -> None:
        self._av = demux_library()
        self._address = address
        self._container: Any = None
        self._packets: Iterator[EncodedPacket | None] = iter(())

    def open(self) -> VideoStream:
        """Connect, and say what the stream is. Raises CaptureError with a reason free of credentials."""
        self.close()
        address, errors = self._address, self._av.error
        try:
            self._container = self._av.open(
                address.target,
                options=dict(address.options),
                # A title may be in any encoding, and is of no interest.
                metadata_errors="replace",
                timeout=(address.open_timeout_s, address.read_timeout_s),
            )
        except (errors.FFmpegError, OSError, ValueError):
            raise CaptureError(address.explain()) from None
        streams = self._container.streams.video
        if not streams:
            self.close()
            raise CaptureError("it holds no video")
        if streams[0].codec_context is None:
            self.close()
            raise DecoderError("FFmpeg knows no decoder of its video")
        self._packets = self._read(streams[0])
        return _describe(streams[0])

    def next(self) -> EncodedPacket | None:
        """Return the next packet; None where it is of no use: before a keyframe, damaged, of another track.

        Raises:
            EndOfStream: There are no more.
            CaptureError: The connection is lost.
        """
        try:
            return next(self._packets)
        except StopIteration:
            pass
        except self._av.error.ExitError:
            raise CaptureError("no video came for too long") from None
        except (self._av.error.FFmpegError, OSError) as error:
            words = getattr(error, "strerror", None) or type(error).__name__
            if self._address.live:
                raise CaptureError(f"the connection was lost: {words}") from None
            logger.debug("a file ends early: %s", words)
        if self._address.live:
            raise CaptureError("the connection was lost: the camera sends no more video")
        raise EndOfStream

    def rewind(self) -> None:
        """Begin a file again. Raises CaptureError."""
        if self._container is None:
            raise CaptureError("the camera is not open")
        try:
            self._container.seek(0)
            self._packets = self._read(self._container.streams.video[0])
        except (self._av.error.FFmpegError, OSError):
            # A raw stream has no index to seek in.
            self.open()

    def close(self) -> None:
        """Disconnect. Never raises; idempotent."""
        container, self._container = self._container, None
        self._packets = iter(())
        if container is not None:
            try:
                container.close()
            except (self._av.error.FFmpegError, OSError) as error:
                logger.debug("closing a connection failed: %s", type(error).__name__)

    def _read(self, stream: Any) -> Iterator[EncodedPacket | None]:
        filters = self._filters(stream)
        header = _Header(_codec(stream), stream.codec_context.extradata)
        # Joined between two keyframes, a stream decodes to grey smears at first: they are no pictures.
        begun = False
        start = stream.start_time or 0
        for packet in self._demuxed():
            useful = False
            for part in self._whole(packet, filters) if packet.stream.index == stream.index else ():
                if begun or part.is_keyframe:
                    yield header.complete(_encoded(part, stream.time_base, start))
                    begun = useful = True
            if not useful:
                yield None

    def _demuxed(self) -> Iterator[Any]:
        """Yield the packets of all tracks: to wait for one of them knows no end, should it be silent."""
        while True:
            try:
                yield from self._container.demux()
            except IndexError:
                # PyAV stumbles over packets of a track that was not there at first, as damage may feign.
                continue
            return

    def _whole(self, packet: Any, filters: Any) -> Sequence[Any]:
        """Return a packet as decoders take it; nothing of one that is empty, or damaged beyond that."""
        if not packet.size:
            return ()
        if filters is None:
            return (packet,)
        try:
            found: Sequence[Any] = filters.filter(packet)
        except self._av.error.InvalidDataError:
            return ()
        return found

    def _filters(self, stream: Any) -> Any:
        codec, extradata = _codec(stream), stream.codec_context.extradata
        if codec in PARAMETERS_APART and (extradata is None or extradata.startswith(START_CODES)):
            return None  # Annex B's format already, as RTSP and transport streams have it
        name = FILTERS.get(codec)
        return None if name is None else self._av.bitstream.BitStreamFilterContext(name, stream)


def _codec(stream: Any) -> str:
    name: str = stream.codec_context.name
    return NAMES.get(name, name)


def _describe(stream: Any) -> VideoStream:
    context = stream.codec_context
    matrix = MATRICES.get(int(context.colorspace), YuvMatrix.BT601)
    full = int(context.color_range) == FULL_RANGE or (context.pix_fmt or "").startswith("yuvj")
    rate = stream.guessed_rate or stream.average_rate
    fps = float(rate) if rate else None
    return VideoStream(_codec(stream), context.reorder_depth, YuvColors(matrix, full), stream.frames, fps)


def _encoded(packet: Any, time_base: Fraction, start: int) -> EncodedPacket:
    pts = packet.pts
    return EncodedPacket(
        data=bytes(packet),
        keyframe=packet.is_keyframe,
        pts_s=None if pts is None else (pts - start) * time_base.numerator / time_base.denominator,
        camera_time_ns=_camera_time_ns(packet),
    )


class _Header:
    """Parameter sets that RTSP may send in its description alone; a new decoder needs them at its keyframe.

    Args:
        codec: FFmpeg's name.
        extradata: What the container tells beside the packets.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        known = extradata or b""
        self._codec = codec
        self._data = known if codec in PARAMETERS_APART and known.startswith(START_CODES) else b""
        self._sequence = sequence_of(codec, self._data)

    def complete(self, packet: EncodedPacket) -> EncodedPacket:
        """Return the packet, a keyframe with its parameters."""
        if not self._data or not packet.keyframe:
            return packet
        told = sequence_of(self._codec, packet.data)
        if not told:
            return replace(packet, data=self._data + packet.data)
        if told != self._sequence:
            self._data = b""  # of a sequence that is over
        return packet


def _camera_time_ns(packet: Any) -> int | None:
    if not packet.has_sidedata(PRODUCER_TIME):
        return None
    microseconds, _ = struct.unpack_from("=qi", bytes(packet.get_sidedata(PRODUCER_TIME)))
    return int(microseconds) * 1000
