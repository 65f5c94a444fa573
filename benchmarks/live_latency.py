"""How long a picture of a live camera takes from the network to its decoded pixels, by each decoder.

    python -m benchmarks.live_latency --json live.json

A sender pushes H.264 over RTSP (TCP) at the pace of a camera, and notes when each picture leaves; the
receivers are edge_app's own sources, one after the other. Pictures tell their number by their brightness.
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
from fractions import Fraction
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
from edge_app.interfaces import Picture, Source
from edge_app.preprocess.host_picture import host_picture

FPS = 30
STEPS, STEP = 24, 10
"""Pictures are told apart by so many levels of brightness, so far apart."""
RTSP_OPTIONS = {"rtsp_transport": "tcp", "rtsp_flags": "listen", "listen_timeout": "20"}
OPEN_TIMEOUT_S = 20.0


class Sender:
    """Encodes pictures once, and pushes them to whoever listens."""

    def __init__(self, size: tuple[int, int], count: int) -> None:
        self._av = demux_library()
        self._size = size
        self._count = count
        self.sent_ns: list[int] = []

    def push(self, url: str) -> None:
        """Send all pictures, each at its time."""
        self.sent_ns.clear()
        options = {"rtsp_transport": "tcp"}
        for _ in range(50):
            try:
                output = self._av.open(url, "w", format="rtsp", options=options)
                break
            except (self._av.error.FFmpegError, OSError):
                time.sleep(0.1)  # the receiver does not listen yet
        else:
            raise CaptureError("nobody listens")
        with output:
            stream = output.add_stream(
                "libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency"}
            )
            stream.width, stream.height, stream.pix_fmt = *self._size, "yuv420p"
            stream.codec_context.gop_size = FPS
            packets = [stream.encode(self._picture(number)) for number in range(self._count)]
            begin_s = time.monotonic() + 0.2
            for number, encoded in enumerate(packets):
                time.sleep(max(0.0, begin_s + number / FPS - time.monotonic()))
                self.sent_ns.append(time.monotonic_ns())
                try:
                    output.mux(encoded)
                except (self._av.error.FFmpegError, OSError):
                    return  # the receiver has seen enough

    def _picture(self, number: int) -> Any:
        width, height = self._size
        noise = np.random.default_rng(number).integers(0, 12, (height, width, 3), np.uint8)
        picture = noise + np.uint8(number % STEPS * STEP)
        frame = self._av.VideoFrame.from_ndarray(picture, format="bgr24")
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        return frame


def measure(make: Callable[[str], Source], sender: Sender, pictures: int) -> Mapping[str, float]:
    """Return p50 and p95 in milliseconds of the pictures that arrive, without the first second."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"rtsp://127.0.0.1:{port}/live"
    pusher = threading.Thread(target=sender.push, args=(url,), daemon=True)
    pusher.start()
    source, taken_ms = make(url), list[float]()
    source.open()
    try:
        while len(taken_ms) < pictures - FPS:
            picture = source.read(1.0)
            if picture is not None:
                taken_ms.append((picture.captured_ns - sender.sent_ns[_number(picture, sender)]) / 1e6)
    except CaptureError:
        pass  # the sender is through
    finally:
        source.close()
        pusher.join()
    p50, p95 = np.percentile(taken_ms[FPS:], (50, 95))
    return {"p50_ms": round(float(p50), 2), "p95_ms": round(float(p95), 2), "pictures": len(taken_ms)}


def _number(picture: Picture, sender: Sender) -> int:
    """Which picture it is: the newest one sent that is as bright."""
    bgr = host_picture(picture.pixels, picture.width_height, picture.pixel_format, picture.colors)
    if picture.lease is not None:
        picture.lease.release()
    level = round((float(bgr[::8, ::8].mean()) - 5.5) / STEP) % STEPS
    newest = len(sender.sent_ns) - 1
    return newest - (newest - level) % STEPS


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--size", default="1920x1080")
    options = parser.parse_args(arguments)
    width, height = map(int, options.size.split("x"))
    # OpenCV reads such options from the environment alone.
    os.environ[OPTIONS_VARIABLE] = "rtsp_transport;tcp|rtsp_flags;listen|listen_timeout;20"
    prepare_opencv()
    pictures = round(options.seconds * FPS)
    sender = Sender((width, height), pictures)
    ways = {"nvdec": _device(NvdecDecoders()), "cpu, one thread": _cpu}
    rounds: dict[str, list[Mapping[str, float]]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, make in ways.items():
            rounds[name].append(measure(make, sender, pictures))
    for name, found in rounds.items():
        words = "; ".join(f"p50 {round_['p50_ms']}, p95 {round_['p95_ms']}" for round_ in found)
        sys.stdout.write(f"{name:16} sent to decoded, ms: {words}\n")
    if options.json is not None:
        result = {"size": [width, height], "fps": FPS, "rounds": rounds, "environment": environment()}
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
