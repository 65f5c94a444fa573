"""A camera or file whose pictures are decoded into device memory and stay there."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from edge_app.capture.demux import Address, Demuxer
from edge_app.capture.pacing import MediaTimes, Pace, RateLimit
from edge_app.capture.presentation import PresentationTimes
from edge_app.capture.sequence import sequence_of
from edge_app.errors import CaptureError, DecoderError, EndOfStream
from edge_app.interfaces import (
    DecodedPicture,
    EncodedPacket,
    Picture,
    VideoDecoder,
    VideoDecoders,
    VideoStream,
)

logger = logging.getLogger(__name__)

COMPLETE = 0.9
"""A container's count of frames is an estimate; a file that ends before this share of it is incomplete."""

MOST_FAILURES = 3
"""So many new decoders that do not last, and the stream is not for this decoder."""

LASTING = 100
"""A decoder lasts that gave so many pictures since the last failure."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """A decoded picture that waits for its turn."""

    decoded: DecodedPicture
    captured_ns: int
    captured_at_ns: int
    capture_ms: float
    media_time_s: float | None
    camera_time_ns: int | None


class DeviceSource:
    """A `Source` of surfaces. What `max_fps` leaves out is decoded, as it must be, and never copied.

    Args:
        address: What is read.
        decoders: Makes the decoder.
        max_fps: Most frames a second; None: all.
        paced: Whether pictures wait until their media time has come.
        loop: Whether a file starts again at its end.
    """

    def __init__(
        self,
        address: Address,
        decoders: VideoDecoders,
        max_fps: float | None = None,
        *,
        paced: bool = False,
        loop: bool = False,
    ) -> None:
        self._address = address
        self._decoders = decoders
        self._paced = paced
        self._by_media = paced or not address.live
        self._loop = loop
        self._limit = RateLimit(max_fps)
        self._pace = Pace()
        self._media_times = MediaTimes(None)
        self._demuxer: Demuxer | None = None
        self._decoder: VideoDecoder | None = None
        self._done_with: VideoDecoder | None = None
        """Its last pictures are still to be read, and closing it waits for what it has lent."""
        self._stream = VideoStream("")
        self._times = PresentationTimes(0)
        self._ready: deque[_Ready] = deque()
        self._sequence = b""
        self._failures = 0
        self._lasted = 0
        self._pictures = 0
        self._ended = False

    @property
    def live(self) -> bool:
        """Whether time goes on without us."""
        return self._address.live

    @property
    def decoder(self) -> str:
        """The way in, in words."""
        return f"{self._decoders.name} {self._stream.codec}".rstrip()

    def open(self) -> None:
        """Connect and get a decoder. Raises CaptureError with a reason free of credentials."""
        self.close()
        demuxer = Demuxer(self._address)
        self._stream = demuxer.open()
        self._demuxer = demuxer
        if degrees := self._address.turned_degrees():
            words = f"its pictures are shown turned by {degrees} degrees, which only the decoder cpu does"
            raise DecoderError(words, hint="write decoder: auto, or turn the film with ffmpeg")
        self._renew_decoder()
        self._sequence = b""
        self._failures = self._lasted = self._pictures = 0
        self._ended = False
        self._limit.reset()
        self._pace.reset()
        self._media_times = MediaTimes(self._stream.fps)

    def read(self, timeout_s: float) -> Picture | None:
        """Return the next picture; see `Source.read`. A connection that is silent makes it wait longer."""
        deadline_s = time.monotonic() + timeout_s
        while not self._ready:
            if time.monotonic() >= deadline_s:
                return None
            self._advance()
        ready = self._ready[0]
        if self._paced and not self._is_due(ready, deadline_s):
            return None
        self._ready.popleft()
        return self._picture(ready)

    def close(self) -> None:
        """Disconnect. Never raises; idempotent."""
        while self._ready:
            self._ready.popleft().decoded.lease.release()
        demuxer, self._demuxer = self._demuxer, None
        if demuxer is not None:
            demuxer.close()
        self._close_decoder()

    def _close_decoder(self) -> None:
        decoders = (self._done_with, self._decoder)
        self._done_with = self._decoder = None
        for decoder in decoders:
            if decoder is not None:
                decoder.close()

    def _advance(self) -> None:
        """Decode one packet, or what is held back at the end."""
        if self._done_with is not None:
            self._done_with.close()
            self._done_with = None
        if self._demuxer is None:
            raise CaptureError("the camera is not open")
        if self._ended:
            self._at_end()
            return
        try:
            packet = self._demuxer.next()
        except EndOfStream:
            self._ended = True
            self._finish()
            return
        if packet is None:
            return
        begin_ns = time.monotonic_ns()
        decoded = self._decode(packet)
        self._sort_in(decoded, begin_ns)

    def _decode(self, packet: EncodedPacket) -> Sequence[DecodedPicture]:
        """Decode a packet, with a new decoder where the old one serves no more."""
        if packet.keyframe:
            self._look_at_sequence(packet)
        while True:
            if self._decoder is None:
                if not packet.keyframe:
                    return ()
                self._renew_decoder()
            assert self._decoder is not None  # noqa: S101 - just made
            try:
                decoded = self._decoder.decode(packet)
            except DecoderError as error:
                self._drop_decoder(error)
                continue
            self._times.feed(packet)
            return decoded

    def _look_at_sequence(self, packet: EncodedPacket) -> None:
        """Let a decoder go whose sequence has ended: the pictures may have another size from here on."""
        sequence = sequence_of(self._stream.codec, packet.data)
        if not sequence or sequence == self._sequence:
            return
        if self._sequence and self._decoder is not None:
            logger.info("the stream changed its parameters; the decoder starts anew")
            self._finish()
            self._done_with, self._decoder = self._decoder, None
        self._sequence = sequence

    def _drop_decoder(self, error: DecoderError) -> None:
        """Close a decoder that failed; the next keyframe gets a new one, unless none gets anywhere."""
        self._failures += 1
        self._lasted = 0
        if not error.retry or self._failures > MOST_FAILURES:
            raise DecoderError(error.message, hint=error.hint)
        logger.info("%s; it starts anew", error.message)
        self._close_decoder()

    def _renew_decoder(self) -> None:
        self._decoder = self._decoders.open(self._stream)
        self._times = PresentationTimes(self._stream.reorder_depth)

    def _finish(self) -> None:
        """Take what the decoder held back for its order."""
        if self._decoder is None:
            return
        begin_ns = time.monotonic_ns()
        try:
            decoded = self._decoder.finish()
        except DecoderError as error:
            logger.info("%s; what it held back is lost", error.message)
            self._close_decoder()
            return
        self._sort_in(decoded, begin_ns)

    def _sort_in(self, decoded: Sequence[DecodedPicture], begin_ns: int) -> None:
        if not decoded:
            return
        self._lasted += len(decoded)
        if self._lasted >= LASTING:
            self._failures = 0
        now_ns, now_at_ns = time.monotonic_ns(), time.time_ns()
        for picture, packet in zip(decoded, self._times.take(len(decoded)), strict=True):
            self._pictures += 1
            media_time_s = self._media_time_s(packet)
            # What waits for its time came before it.
            now_s = now_ns / 1e9 if media_time_s is None or not self._by_media else media_time_s
            if not self._limit.take(now_s):
                picture.lease.release()
                continue
            camera_time_ns = None if packet is None else packet.camera_time_ns
            capture_ms = (now_ns - begin_ns) / 1e6
            self._ready.append(_Ready(picture, now_ns, now_at_ns, capture_ms, media_time_s, camera_time_ns))

    def _media_time_s(self, packet: EncodedPacket | None) -> float | None:
        told_s = None if packet is None else packet.pts_s
        if told_s is None and not self._by_media:
            return None
        return self._media_times.fill(told_s)

    def _at_end(self) -> None:
        """End, or begin again with the same decoder: a new one takes a quarter of a second."""
        if self._pictures < COMPLETE * self._stream.frames:
            words = "the file ends after %d of %d frames: it is incomplete"
            logger.warning(words, self._pictures, self._stream.frames)
        if not self._pictures:
            raise DecoderError("the file holds not one picture that can be decoded")
        if not self._loop or self._demuxer is None:
            raise EndOfStream
        self._demuxer.rewind()
        self._times = PresentationTimes(self._stream.reorder_depth)
        self._pictures = 0
        self._ended = False
        self._limit.reset()
        self._pace.reset()
        self._media_times.reset()

    def _is_due(self, ready: _Ready, deadline_s: float) -> bool:
        """Wait for the picture's turn, no longer than until `deadline_s`."""
        now_s = time.monotonic()
        delay_s = self._pace.delay_s(ready.media_time_s or 0.0, now_s)
        time.sleep(max(0.0, min(delay_s, deadline_s - now_s)))
        return now_s + delay_s <= deadline_s

    def _picture(self, ready: _Ready) -> Picture:
        decoded = ready.decoded
        captured_ns, captured_at_ns = ready.captured_ns, ready.captured_at_ns
        if self._paced:
            # It was there before its time; to everyone else it happens now.
            captured_ns, captured_at_ns = time.monotonic_ns(), time.time_ns()
        return Picture(
            decoded.surface,
            captured_ns=captured_ns,
            captured_at_ns=captured_at_ns,
            capture_ms=ready.capture_ms,
            media_time_s=ready.media_time_s,
            lease=decoded.lease,
            pixel_format=decoded.pixel_format,
            colors=self._stream.colors,
            size=decoded.size,
            camera_time_ns=ready.camera_time_ns,
        )
