"""What PyAV reads: odd files, and streams that bring nothing for a while."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV is not installed")

from edge_app.capture.attempt import Camera  # noqa: E402
from edge_app.capture.cameras import CameraGroup  # noqa: E402
from edge_app.capture.demux import Address, Demuxer  # noqa: E402
from edge_app.capture.device import DeviceSource  # noqa: E402
from edge_app.errors import DecoderError  # noqa: E402
from edge_app.interfaces import DecodedPicture, EncodedPacket, VideoStream  # noqa: E402
from edge_app.messages import CameraState  # noqa: E402
from tests.capture.parts import (  # noqa: E402
    RecordingObserver,
    RecordingSink,
    index_of,
    picture,
    wait_until,
)
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


def test_a_codec_that_nobody_knows_is_told_of(tmp_path: Path) -> None:
    data = encode(io.BytesIO(), 5, container="matroska").getvalue()
    (tmp_path / "a.mkv").write_bytes(data.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/AVC"))
    demuxer = Demuxer(Address(str(tmp_path / "a.mkv"), live=False))
    with pytest.raises(DecoderError, match="FFmpeg knows no decoder of its video"):
        demuxer.open()


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


def without_video_after_a_second(path: Path) -> bytes:
    """A transport stream whose sound goes on."""
    with av.open(str(path), "w", format="mpegts") as output:
        film = output.add_stream("libx264", rate=25, options={"preset": "ultrafast", "bf": "0"})
        film.width, film.height, film.pix_fmt = 320, 240, "yuv420p"
        sound = output.add_stream("mp2", rate=48000, layout="mono")
        for index in range(500):
            if index < 25:
                output.mux(film.encode(av.VideoFrame.from_ndarray(picture(index), format="bgr24")))
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1920), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48000, 1920 * index
            output.mux(sound.encode(frame))
        for stream in (film, sound):
            output.mux(stream.encode())
    return path.read_bytes()


def without_keyframes(path: Path) -> bytes:
    """A transport stream that was joined long before its next keyframe."""
    data: bytes = encode(io.BytesIO(), 1000, container="mpegts", bf="0", g="10000").getvalue()
    data = data[: 188 * 3] + data[len(data) // 188 // 2 * 188 :]
    path.write_bytes(data)
    with av.open(str(path)) as check:
        assert not any(packet.is_keyframe for packet in check.demux(video=0) if packet.size)
    return data


@pytest.mark.parametrize("make", [without_video_after_a_second, without_keyframes])
def test_what_brings_no_pictures_does_not_hold_its_reader(
    tmp_path: Path, make: Callable[[Path], bytes], groups: list[CameraGroup]
) -> None:
    data, pipe = make(tmp_path / "a.ts"), tmp_path / "pipe"
    os.mkfifo(pipe)
    stop = threading.Event()

    def send() -> None:
        with contextlib.suppress(BrokenPipeError), pipe.open("wb", buffering=0) as target:
            place = 0
            while not stop.is_set():
                target.write(data[place : place + 1880])
                # The end comes again and again, as a camera's would that never recovers.
                place = place + 1880 if place + 1880 < len(data) else len(data) // 188 * 3 // 4 * 188
                time.sleep(0.0005)

    sender = threading.Thread(target=send)
    sender.start()
    decoders, sink, observer = SoftwareDecoders(), RecordingSink(), RecordingObserver()
    source = DeviceSource(Address(str(pipe), live=True), decoders)
    camera = Camera("gate", lambda: source, live=True, stall_s=1.0, reconnect_min_s=60, reconnect_max_s=60)
    groups.append(CameraGroup([camera], sink, observer))
    groups[-1].start()
    try:
        observer.wait("gate", CameraState.STALLED)
        wait_until(lambda: "capture-gate" not in {thread.name for thread in threading.enumerate()}, 3.0)
    finally:
        stop.set()
        sender.join()
    assert not decoders.lent
