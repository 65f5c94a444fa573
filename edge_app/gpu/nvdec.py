"""NVIDIA's hardware decoder through PyNvVideoCodec, into surfaces that are lent and given back.

The library copies each picture from the decoder's own few into a pool of its, and lends it from there without
another copy (`GetLockedFrame`). The pool grows while pictures are lent, so leases never starve the decoder.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from edge_app.errors import BackendError, DecoderError
from edge_app.gpu.context import Gpu, open_gpu
from edge_app.gpu.enqueue import StreamQuery
from edge_app.gpu.memory import Stream
from edge_app.gpu.resource import Resource
from edge_app.interfaces import DecodedPicture, EncodedPacket, VideoStream
from edge_app.messages import PixelFormat, Surface

logger = logging.getLogger(__name__)

CODECS = {"h264": "H264", "hevc": "HEVC", "av1": "AV1", "vp9": "VP9", "vp8": "VP8", "mjpeg": "JPEG"}
"""FFmpeg's names of codecs, and the library's (`cudaVideoCodec`)."""

DELIMITERS = {"h264": 2 * b"\0\0\0\1\x09\xf0", "hevc": 2 * b"\0\0\0\1\x46\1\x50"}
"""Access unit delimiters for any kind of picture (ITU-T H.264, 7.3.2.4; H.265, 7.3.2.5). The first ends the
picture before it, and the second the first: the decoder reads a unit when it sees the begin of the next."""

TELL_THEIR_SEQUENCE = frozenset({"h264", "hevc", "mjpeg"})
"""Codecs whose streams are followed by others: each sequence has a decoder of its own."""

PIXEL_FORMATS = {"NV12": (PixelFormat.NV12, 1), "P016": (PixelFormat.P016, 2), "P010": (PixelFormat.P016, 2)}
"""The library's names of surfaces that we read, and the bytes of a sample."""

GIVE_BACK_S = 0.5
"""How long a decoder that is closed waits for what is lent, before whoever gives back the last frees it."""

NVDEC_HINT = (
    "pip install 'edge-app[nvdec]', and in a container NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"
)


@lru_cache(maxsize=1)
def nvdec_library() -> Any:
    """Return the module PyNvVideoCodec.

    Raises:
        DecoderError: It is not installed, or the driver's decoder cannot be loaded.
    """
    # It logs its troubles itself, at length, and sets its own level.
    logging.getLogger("PyNvVideoCodec").addFilter(lambda record: record.levelno >= logging.CRITICAL)
    try:
        return import_module("PyNvVideoCodec")
    except ImportError as error:
        raise DecoderError(f"PyNvVideoCodec cannot be imported: {error}", hint=NVDEC_HINT) from None
    except Exception as error:  # noqa: BLE001 - it raises plain RuntimeErrors of many lines
        first = str(error).strip().partition("\n")[0]
        raise DecoderError(f"NVIDIA's video decoder cannot be used: {first}", hint=NVDEC_HINT) from None


class NvdecDecoders:
    """Makes decoders of one GPU; a `VideoDecoders`.

    Args:
        device: Number of the GPU.

    Raises:
        DecoderError: The library cannot be used.
    """

    name = "nvdec"

    def __init__(self, device: int = 0) -> None:
        self._library = nvdec_library()
        self._device = device

    def open(self, stream: VideoStream) -> NvdecDecoder:
        """Return a decoder; see `VideoDecoders.open`."""
        if stream.codec not in CODECS:
            raise DecoderError(f"NVIDIA's decoder knows no {stream.codec}")
        try:
            return NvdecDecoder(self._library, open_gpu(self._device), stream)
        except BackendError as error:
            raise DecoderError(f"NVIDIA's decoder cannot be had: {error.message}", hint=error.hint) from None


class NvdecDecoder(Resource):
    """Decodes one stream; a `VideoDecoder`.

    Without B-frames a picture comes out when its packet went in; with them as soon as the order of display
    allows it.

    Args:
        library: The module.
        gpu: Where.
        stream: What.

    Raises:
        DecoderError: There is no such decoder here, or no more can be had.
    """

    kind = "video decoder"

    def __init__(self, library: Any, gpu: Gpu, stream: VideoStream) -> None:
        self._library = library
        self._gpu = gpu
        self._codec = stream.codec
        self._next_picture = DELIMITERS.get(stream.codec, b"")
        self._may_change_size = stream.codec not in TELL_THEIR_SEQUENCE
        self._is_done = StreamQuery()
        self._size: tuple[int, int] | None = None
        self._layout: tuple[PixelFormat, int] = PIXEL_FORMATS["NV12"]
        with gpu.attach():
            self._stream = Stream()
        self._loans = _Loans()
        try:
            self._native = self._create(CODECS[stream.codec])
        except BaseException:
            with gpu.attach():
                self._stream.close()
            raise
        super().__init__()

    def decode(self, packet: EncodedPacket) -> Sequence[DecodedPicture]:
        """Feed a packet and return the pictures that are ready; see `VideoDecoder.decode`."""
        # Each packet is one whole picture, which the decoder believes when it sees the begin of another.
        data = np.frombuffer(packet.data + self._next_picture, np.uint8)
        native = self._library.PacketData()
        native.bsl_data, native.bsl = data.__array_interface__["data"][0], data.nbytes
        native.decode_flag = self._library.VideoPacketFlag.ENDOFPICTURE
        return self._feed(native)

    def finish(self) -> Sequence[DecodedPicture]:
        """Return what is held back; see `VideoDecoder.finish`."""
        native = self._library.PacketData()
        native.bsl_data, native.bsl = 0, 0
        native.decode_flag = self._library.VideoPacketFlag.ENDOFSTREAM
        return self._feed(native)

    def _feed(self, packet: Any) -> list[DecodedPicture]:
        if self.closed:
            raise DecoderError("the decoder is closed")
        try:
            self._loans.take_back(self._native.UnlockFrame)
            count = self._native.GetNumDecodedFrame(packet)
            if not count:
                return []
            if self._size is None or self._may_change_size:
                self._look_at_size()
            addresses = [self._native.GetLockedFrame() for _ in range(count)]
            # Whoever reads it does so on another stream.
            if not self._is_done(self._stream.handle):
                self._native.SyncOnCUStream()
        except DecoderError:
            raise
        except self._library.PyNvVCExceptionUnsupported as error:
            raise DecoderError(f"NVIDIA's decoder cannot do this {self._codec}: {_reason(error)}") from None
        except Exception as error:  # noqa: BLE001 - PyNvVCExceptions, and RuntimeErrors
            raise DecoderError(f"NVIDIA's decoder failed: {_reason(error)}", retry=True) from None
        return [self._lend(address) for address in addresses]

    def _look_at_size(self) -> None:
        """Find out what the pictures are; a decoder serves one size, as its pool does.

        Raises:
            DecoderError: The size changed, or it is a kind of picture that cannot be read.
        """
        size = (self._native.GetWidth(), self._native.GetHeight())
        if size == self._size:
            return
        if self._size is not None:
            raise DecoderError(f"the pictures changed from {self._size} to {size}", retry=True)
        found = getattr(self._native.GetPixelFormat(), "name", str(self._native.GetPixelFormat()))
        if found not in PIXEL_FORMATS:
            raise DecoderError(f"pictures of the format {found} cannot be read from the GPU, only 4:2:0")
        if size[0] % 2 or size[1] % 2:
            raise DecoderError(
                f"pictures of {size[0]}x{size[1]} cannot be read from the GPU, only even sizes"
            )
        self._size, self._layout = size, PIXEL_FORMATS[found]

    def _lend(self, address: int) -> DecodedPicture:
        assert self._size is not None  # noqa: S101 - `_look_at_size` has seen to it
        width, height = self._size
        pixel_format, sample_bytes = self._layout
        pitch = width * sample_bytes
        surface = Surface(self._gpu.ordinal, address, address + pitch * height, pitch)
        return DecodedPicture(surface, self._size, pixel_format, self._loans.lend(address))

    def _create(self, codec: str) -> Any:
        library = self._library
        with self._gpu.attach():
            try:
                return library.CreateDecoder(
                    gpuid=self._gpu.ordinal,
                    codec=getattr(library.cudaVideoCodec, codec),
                    cudacontext=self._gpu.handle,
                    cudastream=self._stream.handle,
                    usedevicememory=True,
                    latency=library.DisplayDecodeLatencyType.LOW,
                )
            except Exception as error:  # noqa: BLE001 - it has several of its own, and RuntimeErrors
                raise DecoderError(f"NVIDIA's decoder cannot be had: {_reason(error)}") from None

    def _free(self) -> None:
        native, stream, gpu = self._native, self._stream, self._gpu
        self._native = None

        def destroy() -> None:
            nonlocal native
            with gpu.attach():
                native = None
                stream.close()

        self._loans.end(destroy, GIVE_BACK_S)


class _Loans:
    """What is lent of one decoder's pool. Given back by any thread, unlocked by the decoder's own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lent = 0
        self._returned: deque[int] = deque()
        self._destroy: Callable[[], None] | None = None

    def lend(self, address: int) -> _SurfaceLease:
        """Note that a picture is lent."""
        with self._lock:
            self._lent += 1
        return _SurfaceLease(self, address)

    def give_back(self, address: int) -> None:
        """Note that a picture came back."""
        with self._lock:
            self._lent -= 1
            self._returned.append(address)
            destroy = self._destroy if not self._lent else None
        if destroy is not None:
            destroy()

    def take_back(self, unlock: Callable[[int], object]) -> None:
        """Unlock what came back."""
        while self._returned:
            unlock(self._returned.popleft())

    def end(self, destroy: Callable[[], None], timeout_s: float) -> None:
        """Free the decoder as soon as nothing is lent: the GPU may still read it."""
        deadline_s = time.monotonic() + timeout_s
        while self._lent and time.monotonic() < deadline_s:
            time.sleep(0.002)
        with self._lock:
            if self._lent:
                self._destroy = destroy
                return
        destroy()


class _SurfaceLease:
    """A lent surface; a `Lease`."""

    __slots__ = ("_address", "_loans")

    pinned = False

    def __init__(self, loans: _Loans, address: int) -> None:
        self._loans: _Loans | None = loans
        self._address = address

    def release(self) -> None:
        """Give the surface back. Calling it again does nothing."""
        loans, self._loans = self._loans, None
        if loans is not None:
            loans.give_back(self._address)


def _reason(error: BaseException) -> str:
    """Return what the library says of an error, on one line and without its source file."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("at ", "Error code"))]
    return "; ".join(line.removeprefix("Error Type :").strip(" :") for line in told) or type(error).__name__
