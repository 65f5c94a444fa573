"""NVIDIA's decoder beside FFmpeg's: the same pictures, lent and given back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

av = pytest.importorskip("av", reason="PyAV is not installed")

from edge_app.capture.cameras import CameraGroup  # noqa: E402
from edge_app.capture.demux import Address, Demuxer  # noqa: E402
from edge_app.capture.device import DeviceSource  # noqa: E402
from edge_app.capture.factory import create_camera  # noqa: E402
from edge_app.errors import DecoderError, EndOfStream  # noqa: E402
from edge_app.gpu.driver import count_gpus  # noqa: E402
from edge_app.gpu.nvdec import NvdecDecoders  # noqa: E402
from edge_app.gpu.resource import live_resources  # noqa: E402
from edge_app.gpu.surface import download  # noqa: E402
from edge_app.interfaces import DecodedPicture, EncodedPacket, VideoStream  # noqa: E402
from edge_app.messages import CameraState, PixelFormat, Surface  # noqa: E402
from tests.capture.parts import RecordingObserver, RecordingSink, section  # noqa: E402
from tests.capture.test_device import encode  # noqa: E402
from tests.gpu.requirements import require_gpu  # noqa: E402

pytestmark = pytest.mark.gpu
Image = NDArray[np.uint8]


@pytest.fixture
def decoders() -> NvdecDecoders:
    require_gpu()
    try:
        return NvdecDecoders()
    except DecoderError as error:
        pytest.skip(str(error))


def source_of(path: Path, decoders: NvdecDecoders, **options: Any) -> DeviceSource:
    return DeviceSource(Address(str(path), live=False), decoders, **options)


def decoded(source: DeviceSource) -> list[Image]:
    """Everything that a source brings, as NV12 in host memory."""
    source.open()
    found: list[Image] = []
    try:
        while True:
            picture = source.read(5.0)
            if picture is not None:
                assert isinstance(picture.pixels, Surface)
                found.append(download(picture.pixels, picture.width_height, picture.pixel_format))
                assert picture.lease is not None
                picture.lease.release()
    except EndOfStream:
        return found
    finally:
        source.close()


def by_ffmpeg(path: Path, name: str = "nv12") -> list[Image]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [np.ascontiguousarray(frame.reformat(format=name).to_ndarray()) for frame in frames]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", {"bf": "0", "tune": "zerolatency"}),
        ("bframes.mp4", {"bf": "3", "preset": "medium"}),
        ("transport.ts", {"bf": "0"}),
        ("hevc.mp4", {"codec": "libx265", "x265-params": "log-level=none:bframes=0"}),
        ("vp9.webm", {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8"}),
    ],
)
def test_the_pictures_are_ffmpegs_to_the_last_bit(
    tmp_path: Path, decoders: NvdecDecoders, name: str, options: dict[str, str]
) -> None:
    path = tmp_path / name
    encode(path, 23, size=(642, 358), **options)  # type: ignore[arg-type]
    found, expected = decoded(source_of(path, decoders)), by_ffmpeg(path)
    assert len(found) == len(expected) == 23
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours, theirs)


def test_ten_bits(tmp_path: Path, decoders: NvdecDecoders) -> None:
    path = tmp_path / "a.mp4"
    encode(
        path,
        5,
        size=(640, 360),
        codec="libx265",
        pix_fmt="yuv420p10le",
        **{"x265-params": "log-level=none"},  # type: ignore[arg-type]
    )
    found = decoded(source_of(path, decoders))
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert len(found) == len(frames) == 5
    for ours, frame in zip(found, frames, strict=True):
        planes = [np.frombuffer(plane, np.uint16).reshape(plane.height, -1) for plane in frame.planes]
        luma, u, v = (plane[:, :width] >> 2 for plane, width in zip(planes, (640, 320, 320), strict=True))
        upper = np.concatenate((luma, np.stack((u, v), axis=-1).reshape(180, 640)))
        assert np.array_equal(ours, upper.astype(np.uint8))


def test_motion_jpeg(tmp_path: Path, decoders: NvdecDecoders) -> None:
    path = tmp_path / "a.avi"
    encode(path, 5, size=(640, 368), codec="mjpeg", pix_fmt="yuvj420p")
    found, expected = decoded(source_of(path, decoders)), by_ffmpeg(path)
    assert len(found) == 5
    for ours, theirs in zip(found, expected, strict=True):
        # Inverse transforms of JPEG may differ in their rounding.
        assert np.abs(ours.astype(int) - theirs).max() <= 3


def packets_of(path: Path) -> list[EncodedPacket]:
    demuxer, found = Demuxer(Address(str(path), live=False)), list[EncodedPacket]()
    demuxer.open()
    try:
        while True:
            if (packet := demuxer.next()) is not None:
                found.append(packet)
    except EndOfStream:
        return found


def test_what_is_lent_stays_while_decoding_goes_on(tmp_path: Path, decoders: NvdecDecoders) -> None:
    path = tmp_path / "a.ts"
    encode(path, 60, bf="0")
    decoder = decoders.open(VideoStream("h264"))
    held = [picture for packet in packets_of(path) for picture in decoder.decode(packet)]
    expected = by_ffmpeg(path)
    assert len(held) >= 58
    assert len({picture.surface.address for picture in held}) == len(held)
    for picture, theirs in zip(held, expected, strict=False):
        assert np.array_equal(download(picture.surface, picture.size, picture.pixel_format), theirs)
    # Given back by another thread, some of them twice; the decoder then uses them again.
    giver = threading.Thread(target=release_all, args=(held * 2,))
    giver.start()
    giver.join()
    again = [picture for packet in packets_of(path) for picture in decoder.decode(packet)]
    new = {picture.surface.address for picture in again} - {picture.surface.address for picture in held}
    assert len(new) <= 1  # the one that the decoder had kept for itself
    for picture in again:
        picture.lease.release()
    decoder.close()


def release_all(pictures: Sequence[DecodedPicture]) -> None:
    for picture in pictures:
        picture.lease.release()


def test_a_closed_decoder_lives_until_its_last_picture_comes_back(
    tmp_path: Path, decoders: NvdecDecoders
) -> None:
    path = tmp_path / "a.ts"
    encode(path, 10, bf="0")
    decoder = decoders.open(VideoStream("h264"))
    held = [picture for packet in packets_of(path) for picture in decoder.decode(packet)]
    expected = by_ffmpeg(path)
    decoder.close()
    decoder.close()
    assert np.array_equal(
        download(held[-1].surface, held[-1].size, PixelFormat.NV12), expected[len(held) - 1]
    )
    for picture in held:
        picture.lease.release()
    with pytest.raises(DecoderError, match="closed"):
        decoder.decode(packets_of(path)[0])


def test_the_pictures_may_change_their_size(tmp_path: Path, decoders: NvdecDecoders) -> None:
    sizes = ((640, 360), (1280, 720), (322, 242), (640, 360))
    for number, size in enumerate(sizes):
        encode(tmp_path / f"{number}.h264", 8, size=size, bf="0", tune="zerolatency")
    (tmp_path / "a.h264").write_bytes(
        b"".join((tmp_path / f"{number}.h264").read_bytes() for number in range(len(sizes)))
    )
    source = source_of(tmp_path / "a.h264", decoders)
    seen = [image.shape for image in decoded(source)]
    assert {(540, 640), (1080, 1280), (363, 322)} == set(seen)
    assert len(seen) >= 28


def test_damaged_and_foreign_streams(tmp_path: Path, decoders: NvdecDecoders) -> None:
    path = tmp_path / "a.ts"
    data = bytearray(encode(path, 60, bf="0").read_bytes())
    random = np.random.default_rng(0)
    for place in random.integers(len(data) // 4, len(data), 200):
        data[place] ^= 1 << random.integers(8)
    path.write_bytes(data)
    assert 10 < len(decoded(source_of(path, decoders))) <= 60
    decoder = decoders.open(VideoStream("h264"))
    noise = random.integers(0, 256, 5000, dtype=np.uint8).tobytes()
    assert not decoder.decode(EncodedPacket(noise, keyframe=True))
    decoder.close()
    with pytest.raises(DecoderError, match="knows no theora"):
        decoders.open(VideoStream("theora"))


def test_what_it_cannot_decode_goes_to_the_cpu(
    tmp_path: Path,
    decoders: NvdecDecoders,
    sink: RecordingSink,
    observer: RecordingObserver,
    groups: list[CameraGroup],
) -> None:
    path = tmp_path / "a.mp4"
    encode(path, 20, pix_fmt="yuv444p", bf="0")  # no NVDEC decodes H.264 in 4:4:4
    groups.append(CameraGroup([create_camera("film", section(path), None, None, decoders)], sink, observer))
    groups[-1].start()
    sink.wait_finished("film")
    assert sink.count("film") == 20
    assert observer.wait("film", CameraState.LOST)[1].reason is not None
    assert (observer.seen[-1][1].decoder, observer.seen[-1][1].decoder_fallbacks) == ("ffmpeg", 1)


def test_each_gpu_decodes_into_its_own_memory(tmp_path: Path, decoders: NvdecDecoders) -> None:
    if count_gpus() < 2:
        pytest.skip("there is one NVIDIA GPU only")
    path = tmp_path / "a.ts"
    encode(path, 5, bf="0")
    expected = by_ffmpeg(path)
    for device, maker in enumerate((decoders, NvdecDecoders(1))):
        decoder = maker.open(VideoStream("h264"))
        pictures = [picture for packet in packets_of(path) for picture in decoder.decode(packet)]
        assert {picture.surface.device for picture in pictures} == {device}
        assert np.array_equal(download(pictures[0].surface, pictures[0].size, PixelFormat.NV12), expected[0])
        release_all(pictures)
        decoder.close()


def test_device_memory_is_back_after_two_hundred_connections(tmp_path: Path, decoders: NvdecDecoders) -> None:
    path, gpu = tmp_path / "a.ts", require_gpu()
    encode(path, 3, bf="0", tune="zerolatency")

    def connect() -> None:
        source = source_of(path, decoders)
        source.open()
        picture = source.read(5.0)
        assert picture is not None
        assert picture.lease is not None
        picture.lease.release()
        source.close()

    connect()
    before, resources = gpu.memory_bytes()[0], live_resources()
    in_parallel(connect, times=25, threads=8)
    assert live_resources() == resources
    assert before - gpu.memory_bytes()[0] <= 32 << 20


def in_parallel(call: Callable[[], None], *, times: int, threads: int) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(times):
                call()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    workers: Sequence[threading.Thread] = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]


def test_decoding_delays_live_video_by_no_picture(tmp_path: Path, decoders: NvdecDecoders) -> None:
    path = tmp_path / "a.ts"
    encode(path, 30, bf="0", tune="zerolatency")
    decoder = decoders.open(VideoStream("h264"))
    for packet in packets_of(path):
        begin_s = time.perf_counter()
        pictures = decoder.decode(packet)
        assert len(pictures) == 1, "each packet's picture comes out at once"
        assert time.perf_counter() - begin_s < 1.0
        pictures[0].lease.release()
    decoder.close()
