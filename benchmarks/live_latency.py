"""How long a picture of a live camera takes from the network to its decoded pixels, by each decoder.

    python -m benchmarks.live_latency film.mp4 --json live.json

A sender pushes the film's packets over RTSP (TCP) at its own pace, and notes when each leaves; the receivers
are edge_app's own sources, one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.bench.measure import environment
from edge_app.capture.credentials import Credentials
from edge_app.capture.demux import Address, demux_library
from edge_app.capture.device import DeviceSource
from edge_app.capture.environment import prepare_opencv
from edge_app.capture.ffmpeg import LIVE_OPTIONS, OPTIONS_VARIABLE, network_opening
from edge_app.capture.opencv import VideoSource
from edge_app.capture.pool import FramePool
from edge_app.config.camera_uri import parse_camera_uri
from edge_app.errors import CaptureError
from edge_app.gpu.nvdec import NvdecDecoders
from edge_app.interfaces import Source

RTSP_OPTIONS = {"rtsp_transport": "tcp", "rtsp_flags": "listen", "listen_timeout": "20"}
OPEN_TIMEOUT_S = 20.0


class Sender:
    """Pushes a film to whoever listens.

    Args:
        path: H.264 without B-frames.

    Attributes:
        sent_ns: `time.monotonic_ns()` at which each packet left.
        fps: The film's pictures a second.
    """

    def __init__(self, path: Path) -> None:
        self._av = demux_library()
        self._path = path
        self.sent_ns: list[int] = []
        with self._av.open(str(path)) as film:
            self.fps = float(film.streams.video[0].average_rate)

    def push(self, url: str) -> None:
        """Send all packets, each at its time."""
        self.sent_ns.clear()
        with self._av.open(str(self._path)) as film, self._connect(url) as output:
            stream = output.add_stream_from_template(film.streams.video[0])
            packets = [packet for packet in film.demux(video=0) if packet.size]
            begin_s = time.monotonic() + 0.2
            for number, packet in enumerate(packets):
                packet.stream = stream
                time.sleep(max(0.0, begin_s + number / self.fps - time.monotonic()))
                self.sent_ns.append(time.monotonic_ns())
                try:
                    output.mux(packet)
                except (self._av.error.FFmpegError, OSError):
                    return  # the receiver has seen enough

    def _connect(self, url: str) -> Any:
        for _ in range(100):
            try:
                return self._av.open(url, "w", format="rtsp", options={"rtsp_transport": "tcp"})
            except (self._av.error.FFmpegError, OSError):  # noqa: PERF203 - it is tried again
                time.sleep(0.1)  # the receiver does not listen yet
        raise CaptureError("nobody listens")


def measure(make: Callable[[str], Source], sender: Sender, seconds: float) -> Mapping[str, float]:
    """Return p50 and p95 in milliseconds of the pictures that arrive, without the first second."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"rtsp://127.0.0.1:{port}/live"
    pusher = threading.Thread(target=sender.push, args=(url,), daemon=True)
    pusher.start()
    source, taken_ms = make(url), list[float]()
    source.open()
    try:
        while len(taken_ms) < seconds * sender.fps:
            picture = source.read(1.0)
            if picture is None or picture.media_time_s is None:
                continue
            number = round(picture.media_time_s * sender.fps)
            if picture.lease is not None:
                picture.lease.release()
            # What colours it takes to convert counts too: only now can the letterbox begin.
            ready_ns = time.monotonic_ns()
            taken_ms.append((ready_ns - sender.sent_ns[number]) / 1e6)
    except CaptureError:
        pass  # the sender is through
    finally:
        source.close()
        pusher.join()
    p50, p95 = np.percentile(taken_ms[round(sender.fps) :], (50, 95))
    return {"p50_ms": round(float(p50), 2), "p95_ms": round(float(p95), 2), "pictures": len(taken_ms)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("film", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args(arguments)
    # OpenCV reads such options from the environment alone.
    os.environ[OPTIONS_VARIABLE] = "rtsp_transport;tcp|rtsp_flags;listen|listen_timeout;20"
    prepare_opencv()
    sender = Sender(options.film)
    ways = {"nvdec": _device(NvdecDecoders()), "cpu, one thread": _cpu}
    rounds: dict[str, list[Mapping[str, float]]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, make in ways.items():
            rounds[name].append(measure(make, sender, options.seconds))
    for name, found in rounds.items():
        words = "; ".join(f"p50 {round_['p50_ms']}, p95 {round_['p95_ms']}" for round_ in found)
        sys.stdout.write(f"{name:16} sent to decoded, ms: {words}\n")
    if options.json is not None:
        result = {
            "film": options.film.name,
            "fps": sender.fps,
            "rounds": rounds,
            "environment": environment(),
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def _device(decoders: Any) -> Callable[[str], Source]:
    def make(url: str) -> Source:
        address = Address(url, live=True, options={**LIVE_OPTIONS, **RTSP_OPTIONS}, read_timeout_s=5.0)
        return DeviceSource(address, decoders)

    return make


def _cpu(url: str) -> Source:
    opening = network_opening(
        parse_camera_uri(url),
        Credentials(),
        transport="tcp",
        open_timeout_s=OPEN_TIMEOUT_S,
        stall_s=5.0,
        decoder_threads=1,
    )
    return VideoSource(opening, FramePool())


if __name__ == "__main__":
    main()
