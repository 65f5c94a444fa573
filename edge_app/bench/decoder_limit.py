"""How many pictures a second the GPU's decoder gives, with nothing behind it: PyNvVideoCodec alone."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from edge_app.capture.demux import Address, Demuxer
from edge_app.errors import EdgeAppError, EndOfStream
from edge_app.gpu.context import open_gpu
from edge_app.gpu.memory import Stream
from edge_app.gpu.nvdec import CODECS, nvdec_library

THREADS = (4, 8, 16, 24)
"""Numbers of decoding threads that are tried; each has a decoder of its own."""
MOST_PACKETS = 600


class DecoderLimit:
    """Decodes a file from memory, on several threads at once.

    Args:
        path: A video file.
        device: Number of the GPU.

    Raises:
        CaptureError: The file cannot be read, or there is no decoder.
    """

    def __init__(self, path: str, device: int = 0) -> None:
        self._library, self._gpu = nvdec_library(), open_gpu(device)
        demuxer = Demuxer(Address(path, live=False, explain=lambda: f"{path} cannot be read"))
        self._codec = CODECS[demuxer.open().codec]
        self._packets: list[np.ndarray[Any, Any]] = []
        try:
            while len(self._packets) < MOST_PACKETS:
                packet = demuxer.next()
                if packet is not None:
                    self._packets.append(np.frombuffer(packet.data, np.uint8))
        except EndOfStream:
            pass
        finally:
            demuxer.close()

    def frames_per_s(self, seconds: float, threads: Sequence[int] = THREADS) -> dict[int, float]:
        """Return the pictures a second by the number of threads."""
        return {count: self._rate(count, seconds) for count in threads}

    def _rate(self, count: int, seconds: float) -> float:
        begin, counts, errors = threading.Barrier(count + 1), [0] * count, list[BaseException]()
        end_s = [float("inf")]

        def work(number: int) -> None:
            try:
                self._decode(number, begin, counts, end_s)
            except BaseException as error:  # noqa: BLE001 - told by the thread that waits
                errors.append(error)
                begin.abort()

        workers = [threading.Thread(target=work, args=(number,)) for number in range(count)]
        for worker in workers:
            worker.start()
        try:
            begin.wait()
            end_s[0] = time.perf_counter() + seconds
        except threading.BrokenBarrierError:
            pass
        for worker in workers:
            worker.join()
        if errors:
            raise EdgeAppError(f"the decoder alone fails: {errors[0]}") from errors[0]
        return sum(counts) / seconds

    def _decode(self, number: int, begin: threading.Barrier, counts: list[int], end_s: list[float]) -> None:
        with self.decoder() as step:
            step()
            begin.wait()
            while time.perf_counter() < end_s[0]:
                counts[number] += step()

    @contextmanager
    def decoder(self) -> Iterator[Callable[[], int]]:
        """Lend a decoder of its own: each call decodes a packet, and returns how many pictures came."""
        library = self._library
        with self._gpu.attach():
            stream = Stream()
            decoder: Any = library.CreateDecoder(
                gpuid=self._gpu.ordinal,
                codec=getattr(library.cudaVideoCodec, self._codec),
                cudacontext=self._gpu.handle,
                cudastream=stream.handle,
                usedevicememory=True,
                latency=library.DisplayDecodeLatencyType.LOW,
            )
            packets = itertools.cycle([self._packet(data) for data in self._packets])
            try:
                yield lambda: len(decoder.Decode(next(packets)))
            finally:
                decoder = None
                stream.close()

    def _packet(self, data: np.ndarray[Any, Any]) -> Any:
        packet = self._library.PacketData()
        packet.bsl_data, packet.bsl = data.__array_interface__["data"][0], data.nbytes
        packet.decode_flag = self._library.VideoPacketFlag.ENDOFPICTURE
        return packet
