"""Sources of surfaces: PyAV demuxes for real; the decoder is one in software behind the GPU's protocol."""

from __future__ import annotations

import io
import logging
import struct
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV is not installed")

from edge_app.capture import factory  # noqa: E402
from edge_app.capture.cameras import CameraGroup  # noqa: E402
from edge_app.capture.choice import Way  # noqa: E402
from edge_app.capture.demux import Address, Demuxer  # noqa: E402
from edge_app.capture.device import DeviceSource  # noqa: E402
from edge_app.capture.factory import create_camera, create_source, possible_ways  # noqa: E402
from edge_app.capture.opencv import Opening, VideoSource  # noqa: E402
from edge_app.capture.pool import FramePool  # noqa: E402
from edge_app.capture.transport import OPTIONS_VARIABLE  # noqa: E402
from edge_app.errors import CaptureError, ConfigError, DecoderError, EndOfStream  # noqa: E402
from edge_app.interfaces import Picture, Source  # noqa: E402
from edge_app.messages import CameraState, YuvColors, YuvMatrix  # noqa: E402
from tests.capture.parts import (  # noqa: E402
    RecordingObserver,
    RecordingSink,
    RtspServer,
    index_of,
    picture,
    section,
)
from tests.capture.software_decoder import SoftwareDecoders, take  # noqa: E402

Start = Callable[..., RtspServer]


def encode(
    target: Any,
    count: int,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (320, 240),
    fps: int = 25,
    container: str | None = None,
    colors: tuple[int, int] | None = None,
    movflags: str = "",
    pix_fmt: str = "yuv420p",
    title: str = "",
    **options: str,
) -> Any:
    """Encode `count` pictures whose brightness tells their index."""
    with av.open(
        target, "w", format=container, options=({"movflags": movflags} if movflags else {})
    ) as output:
        output.metadata.update({"title": title} if title else {})
        stream = output.add_stream(codec, rate=fps, options={"preset": "ultrafast", "g": "10", **options})
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.time_base = Fraction(1, fps)
        if colors is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = colors
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index, size), format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return target


def source_of(path: Path, decoders: SoftwareDecoders | None = None, **settings: Any) -> DeviceSource:
    source = create_source(
        "film", section(path, **settings), None, None, decoders or SoftwareDecoders(), Way.NVDEC
    )
    assert isinstance(source, DeviceSource)
    return source


def read_to_the_end(source: Source) -> list[Picture]:
    source.open()
    pictures = []
    try:
        while True:
            if (found := source.read(5.0)) is not None:
                pictures.append(found)
    except (EndOfStream, CaptureError) as end:
        if isinstance(end, CaptureError) and "sends no more video" not in end.message:
            raise
        return pictures
    finally:
        source.close()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", {"bf": "0", "tune": "zerolatency"}),
        ("bframes.mp4", {"bf": "3", "preset": "medium"}),
        ("transport.ts", {"bf": "0"}),
        ("raw.h264", {"bf": "0"}),
        ("hevc.mp4", {"codec": "libx265", "x265-params": "log-level=none:bframes=0"}),
        ("vp9.webm", {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8"}),
    ],
)
def test_every_picture_comes_once_in_order_and_with_its_time(
    tmp_path: Path, name: str, options: dict[str, str]
) -> None:
    decoders = SoftwareDecoders()
    source = source_of(encode(tmp_path / name, 23, **options) and tmp_path / name, decoders)  # type: ignore[arg-type]
    pictures = read_to_the_end(source)
    assert [index_of(take(found)) for found in pictures] == list(range(23))
    if name != "raw.h264":  # which holds no times
        assert [found.media_time_s for found in pictures] == pytest.approx(
            [i / 25 for i in range(23)], abs=2e-3
        )
    assert not decoders.lent
    assert all(decoder.closed for decoder in decoders.made)


def test_what_the_stream_says_of_its_colours_comes_along(tmp_path: Path) -> None:
    plain = Demuxer(Address(str(encode(tmp_path / "a.mp4", 2)), live=False))
    hd = Demuxer(Address(str(encode(tmp_path / "b.mp4", 2, colors=(1, 2))), live=False))
    assert plain.open().colors == YuvColors(YuvMatrix.BT601, full_range=False)
    stream = hd.open()
    assert stream.colors == YuvColors(YuvMatrix.BT709, full_range=True)
    assert (stream.codec, stream.frames) == ("h264", 2)
    plain.close()
    hd.close()


def test_a_rate_limit_returns_what_it_leaves_out(tmp_path: Path) -> None:
    decoders = SoftwareDecoders()
    source = source_of(encode(tmp_path / "a.mp4", 50, bf="0"), decoders, max_fps=5)
    pictures = read_to_the_end(source)
    assert [index_of(take(found)) for found in pictures] == [0, 5, 10, 15, 20, 25, 0, 5, 10, 15][
        : len(pictures)
    ]
    assert len(pictures) == 10
    assert not decoders.lent


def test_a_looped_file_goes_on_with_the_same_decoder(tmp_path: Path) -> None:
    decoders = SoftwareDecoders()
    for name in ("a.mp4", "b.h264"):
        source = source_of(encode(tmp_path / name, 10, bf="0"), decoders, loop=True)
        source.open()
        found = [source.read(5.0) for _ in range(25)]
        assert [index_of(take(each)) for each in found if each] == [*range(10), *range(10), *range(5)]
        source.close()
    assert len(decoders.made) == 2


def test_a_paced_file_plays_at_its_own_speed(tmp_path: Path) -> None:
    source = source_of(encode(tmp_path / "a.mp4", 13, bf="0"), realtime=True)
    begin_s = time.monotonic()
    pictures = read_to_the_end(source)
    assert len(pictures) == 13
    assert time.monotonic() - begin_s >= 12 / 25
    gaps_s = np.diff([found.captured_ns for found in pictures]) / 1e9
    assert np.median(gaps_s) == pytest.approx(1 / 25, abs=0.01)


@pytest.mark.parametrize("way", [Way.NVDEC, Way.CPU])
def test_a_stream_without_times_goes_by_its_rate(tmp_path: Path, way: Way) -> None:
    path = encode(tmp_path / "a.h264", 50, bf="0")

    def read(**settings: Any) -> list[float | None]:
        source = create_source("film", section(path, **settings), None, None, SoftwareDecoders(), way)
        return [found.media_time_s for found in read_to_the_end(source)]

    assert read() == pytest.approx([index / 25 for index in range(50)])
    assert read(max_fps=5) == pytest.approx([index / 5 for index in range(10)])
    begin_s = time.monotonic()
    assert len(read(realtime=True)) == 50
    assert time.monotonic() - begin_s >= 49 / 25


@pytest.mark.parametrize("way", [Way.NVDEC, Way.CPU])
def test_a_playlist_keeps_its_rate_limit(tmp_path: Path, way: Way) -> None:
    # Its pictures are there before their time: the limit goes by that, not by when they were decoded.
    path = str(encode(tmp_path / "a.ts", 50, bf="0"))
    source: Source = DeviceSource(Address(path, live=True), SoftwareDecoders(), 5, paced=True)
    if way is Way.CPU:
        opening = Opening(path, "CAP_FFMPEG", (), "ffmpeg", live=True, has_media_time=True, paced=True)
        source = VideoSource(opening, FramePool(), 5)
    begin_s = time.monotonic()
    times = [found.media_time_s for found in read_to_the_end(source)]
    assert times == pytest.approx([index / 5 for index in range(10)], abs=2e-3)
    assert time.monotonic() - begin_s >= 1.8


def test_the_pictures_may_change_their_size(tmp_path: Path) -> None:
    streams = b"".join(
        encode(io.BytesIO(), 6, size=size, container="h264", bf="0", tune="zerolatency").getvalue()
        for size in ((320, 240), (640, 360), (160, 128))
    )
    (tmp_path / "a.h264").write_bytes(streams)
    decoders = SoftwareDecoders()
    pictures = read_to_the_end(source_of(tmp_path / "a.h264", decoders))
    sizes = [found.width_height for found in pictures]
    # The demuxer's parser may take the last picture before a change for part of it.
    assert set(sizes) == {(320, 240), (640, 360), (160, 128)}
    assert len(sizes) >= 16
    for found in pictures:
        take(found)
    assert not decoders.lent
    assert len(decoders.made) == 3


def test_a_damaged_file_brings_what_is_left_of_it(tmp_path: Path) -> None:
    data = bytearray(encode(tmp_path / "a.ts", 60, bf="0").read_bytes())
    random = np.random.default_rng(0)
    for place in random.integers(len(data) // 4, len(data), 200):
        data[place] ^= 1 << random.integers(8)
    (tmp_path / "a.ts").write_bytes(data)
    decoders = SoftwareDecoders()
    pictures = read_to_the_end(source_of(tmp_path / "a.ts", decoders))
    assert 10 < len(pictures) <= 60
    times = [found.media_time_s for found in pictures if found.media_time_s is not None]
    assert times == sorted(times)
    for found in pictures:
        take(found)
    assert not decoders.lent


def test_an_incomplete_file_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = encode(tmp_path / "a.mp4", 60, bf="0", movflags="faststart")
    data = whole.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2 + 3000])
    with av.open(str(whole)) as check:
        assert check.streams.video[0].frames == 60
    with caplog.at_level(logging.WARNING):
        pictures = read_to_the_end(source_of(tmp_path / "cut.mp4"))
    assert 0 < len(pictures) < 54
    assert "of 60 frames: it is incomplete" in caplog.text


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_video_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(CaptureError, match=r"is empty|holds no video"):
        source_of(tmp_path / "a.mp4").open()
    with pytest.raises(CaptureError, match="there is no file"):
        source_of(tmp_path / "b.mp4").open()


def test_a_file_whose_pictures_cannot_be_decoded_is_for_another_decoder(tmp_path: Path) -> None:
    class Blind(SoftwareDecoders):
        def open(self, stream: Any) -> Any:
            decoder = super().open(stream)
            decoder.decode = lambda packet: []  # type: ignore[method-assign]
            decoder.finish = list  # type: ignore[method-assign]
            return decoder

    with pytest.raises(DecoderError, match="not one picture"):
        read_to_the_end(source_of(encode(tmp_path / "a.mp4", 5), Blind()))


def test_two_hundred_connections_leave_nothing_behind(tmp_path: Path) -> None:
    path, decoders = encode(tmp_path / "a.mp4", 5, bf="0"), SoftwareDecoders()
    for _ in range(200):
        source = source_of(path, decoders)
        source.open()
        found = source.read(5.0)
        assert found is not None
        take(found)
        source.close()
        source.close()
    assert not decoders.lent
    assert all(decoder.closed for decoder in decoders.made)


# --- which decoder ----------------------------------------------------------------------------------------


def test_the_choice_is_made_once_and_openly(tmp_path: Path) -> None:
    decoders = SoftwareDecoders()
    film, camera = section(tmp_path / "a.mp4"), section("http://camera/stream")
    assert possible_ways("a", film, decoders) == (Way.NVDEC, Way.CPU)
    assert possible_ways("a", camera, decoders) == (Way.NVDEC, Way.CPU)
    assert possible_ways("a", film, None) == (Way.CPU,)
    assert possible_ways("a", section("scene://street"), decoders) == (Way.CPU,)
    assert possible_ways("a", section(tmp_path / "a.mp4", decoder="cpu"), decoders) == (Way.CPU,)
    assert possible_ways("a", section(tmp_path / "a.mp4", decoder="nvdec"), decoders) == (Way.NVDEC,)
    for uri, decoder, given, words in (
        ("a.mp4", "nvdec", None, "needs a model that runs on a GPU"),
        ("a.mp4", "gstreamer", decoders, "is for rtsp cameras"),
        ("scene://street", "nvdec", decoders, "files, rtsp and http cameras, this is scene"),
        ("a.jpg", "nvdec", decoders, "files, rtsp and http cameras"),
    ):
        with pytest.raises(ConfigError, match=words):
            possible_ways("a", section(uri, decoder=decoder), given)


@pytest.mark.parametrize("how", [{"refuse": True}, {"fail_after": 3}])
def test_a_decoder_that_fails_gives_way_to_the_next(
    tmp_path: Path,
    how: dict[str, Any],
    sink: RecordingSink,
    observer: RecordingObserver,
    groups: list[CameraGroup],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, decoders = encode(tmp_path / "a.mp4", 20, bf="0"), SoftwareDecoders(**how)
    with caplog.at_level(logging.WARNING):
        groups.append(
            CameraGroup([create_camera("film", section(path), None, None, decoders)], sink, observer)
        )
        groups[-1].start()
        sink.wait_finished("film")
    assert sink.count("film") >= 20
    _, lost = observer.wait("film", CameraState.LOST)
    assert lost.reason in ("no decoder can be had", "the decoder is broken")
    ended = observer.seen[-1][1]
    assert (ended.decoder, ended.decoder_fallbacks) == ("ffmpeg", 1)
    assert "from here on it is decoded by cpu" in caplog.text
    assert not decoders.lent


def test_a_decoder_that_is_named_has_no_other_in_its_place(
    tmp_path: Path, sink: RecordingSink, observer: RecordingObserver, groups: list[CameraGroup]
) -> None:
    path, decoders = encode(tmp_path / "a.mp4", 20), SoftwareDecoders(refuse=True)
    camera = create_camera("film", section(path, decoder="nvdec"), None, None, decoders)
    groups.append(CameraGroup([camera], sink, observer))
    groups[-1].start()
    observer.wait("film", CameraState.LOST)
    decoders.refuse = False
    sink.wait_finished("film")
    assert observer.seen[-1][1].decoder == "software h264"


# --- RTSP -------------------------------------------------------------------------------------------------


@pytest.mark.rtsp
@pytest.mark.parametrize("options", [(), ("--audio",), ("--late-keyframe",), ("--codec", "h265")])
def test_an_rtsp_camera_streams(rtsp_server: Start, options: tuple[str, ...]) -> None:
    server = rtsp_server(*options, "--width", "352", "--height", "288")
    decoders = SoftwareDecoders()
    source = create_source("gate", section(server.uri), None, None, decoders, Way.NVDEC)
    source.open()
    assert source.live
    images = [take(found) for found in (source.read(3.0) for _ in range(10)) if found]
    assert {image.shape for image in images} == {(288, 352, 3)}
    # The test pattern is a white ball on black: neither grey smears nor an empty picture.
    assert all(2 < image.mean() < 30 for image in images)
    source.close()
    assert not decoders.lent


@pytest.mark.rtsp
def test_an_rtsp_camera_tells_its_own_time(rtsp_server: Start) -> None:
    source = create_source("gate", section(rtsp_server().uri), None, None, SoftwareDecoders(), Way.NVDEC)
    source.open()
    deadline_s = time.monotonic() + 15
    found = None
    while time.monotonic() < deadline_s and (found is None or found.camera_time_ns is None):
        found = source.read(2.0)
        if found is not None:
            take(found)
    assert found is not None
    assert found.camera_time_ns is not None
    assert 0 < time.time_ns() - found.camera_time_ns < 5e9
    source.close()


@pytest.mark.rtsp
def test_an_rtsp_camera_that_fails_or_hangs_comes_back(
    rtsp_server: Start, sink: RecordingSink, observer: RecordingObserver, groups: list[CameraGroup]
) -> None:
    server, decoders = rtsp_server(), SoftwareDecoders()
    camera = create_camera("gate", section(server.uri), None, None, decoders)
    groups.append(CameraGroup([camera], sink, observer))
    groups[-1].start()
    sink.wait_frames("gate", 5)
    server.freeze()
    observer.wait("gate", CameraState.STALLED)
    server.thaw()
    sink.wait_frames("gate", 5)
    server.kill()
    observer.wait("gate", CameraState.LOST)
    rtsp_server("--width", "640", "--height", "480", port=server.port)
    sink.wait_frames("gate", 5)
    status = observer.seen[-1][1]
    assert (status.decoder, status.width, status.decoder_fallbacks) == ("software h264", 640, 0)


@pytest.mark.rtsp
def test_a_decoder_that_fails_loses_no_camera_over_the_transport(
    rtsp_server: Start,
    sink: RecordingSink,
    observer: RecordingObserver,
    groups: list[CameraGroup],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # PyAV takes any transport for each camera, OpenCV one for all: another camera has chosen it before.
    monkeypatch.setenv(OPTIONS_VARIABLE, "rtsp_transport;tcp|allowed_media_types;video")
    monkeypatch.setattr(factory, "opencv_has_gstreamer", lambda: False)
    settings = section(rtsp_server().uri, transport="udp")
    camera = create_camera("gate", settings, None, None, SoftwareDecoders(refuse=True))
    with caplog.at_level(logging.WARNING):
        groups.append(CameraGroup([camera], sink, observer))
        groups[-1].start()
        sink.wait_frames("gate", 5)
    assert "camera gate: its RTSP goes over tcp, not udp" in caplog.text


@pytest.mark.rtsp
def test_a_password_reaches_the_server_and_nobody_else(
    rtsp_server: Start, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    canary = 'c4n4ry p@ss"\\/w:rd%!'
    server = rtsp_server("--user", "ann", password=canary)
    with caplog.at_level(logging.DEBUG):
        good = create_source(
            "gate", section(server.uri, username="ann"), canary, None, SoftwareDecoders(), Way.NVDEC
        )
        good.open()
        found = good.read(3.0)
        assert found is not None
        take(found)
        good.close()
        bad = create_source(
            "gate", section(server.uri, username="ann"), canary[1:], None, SoftwareDecoders(), Way.NVDEC
        )
        with pytest.raises(CaptureError, match="refuses this user name and password") as refusal:
            bad.open()
    written = caplog.text + "".join(capfd.readouterr()) + str(refusal.value) + repr(good)
    assert "c4n4ry" not in written
    assert "4n4ry" not in written


# --- pictures that are shown turned ------------------------------------------------------------------------


def test_a_film_that_is_shown_turned_goes_to_the_cpu(
    tmp_path: Path,
    sink: RecordingSink,
    observer: RecordingObserver,
    groups: list[CameraGroup],
) -> None:
    # As telephones write them. OpenCV turns the pictures; boxes must not depend on the decoder.
    path = encode(tmp_path / "a.mp4", 12, bf="0")
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    film, track = path.read_bytes().split(upright)[:-1], path.read_bytes().split(upright)[-1]
    path.write_bytes(upright.join(film) + turned + track)
    groups.append(
        CameraGroup([create_camera("film", section(path), None, None, SoftwareDecoders())], sink, observer)
    )
    groups[-1].start()
    sink.wait_finished("film")
    _, lost = observer.wait("film", CameraState.LOST)
    assert lost.reason == "its pictures are shown turned by 90 degrees, which only the decoder cpu does"
    assert {(info.width, info.height) for info in sink.frames["film"]} == {(240, 320)}
    assert (sink.count("film"), observer.seen[-1][1].decoder) == (12, "ffmpeg")
