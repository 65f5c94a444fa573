"""Broker and cameras: real ones, reachable and not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_app.capture.credentials import Credentials
from edge_app.capture.rtsp_tracks import Track, describe_tracks, parse_sdp
from edge_app.config.models import MqttSection
from edge_app.doctor.network import check_broker, check_camera
from edge_app.doctor.result import Status
from edge_app.errors import CaptureError
from tests.brokers import Mosquitto, free_port, needs_mosquitto
from tests.capture.parts import RtspServer, section

USER, PASSWORD = "viewer", "canary word/7f3a@x"


def never() -> bool:
    return False


@pytest.mark.broker
@needs_mosquitto
def test_a_broker_that_is_there(mosquitto: Mosquitto) -> None:
    mosquitto.start()
    result = check_broker(MqttSection(uri=mosquitto.uri), None)
    assert (result.status, result.found) == (
        Status.OK,
        f"connected to 127.0.0.1:{mosquitto.port} with MQTT 5",
    )


@pytest.mark.broker
@needs_mosquitto
def test_a_broker_that_refuses_us_says_why(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, users={USER: PASSWORD})
    broker.start()
    try:
        options = MqttSection(uri=broker.uri, username=USER)
        assert check_broker(options, PASSWORD).status is Status.OK
        result = check_broker(options, "wrong")
    finally:
        broker.kill()
    assert result.status is Status.FAILED
    assert "refused the connection" in result.found


def test_no_broker() -> None:
    result = check_broker(MqttSection(uri=f"mqtt://127.0.0.1:{free_port()}"), None)
    assert result.status is Status.FAILED
    assert "nothing listens" in result.found


@pytest.mark.rtsp
@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_an_rtsp_camera_tells_codec_size_and_rate(rtsp_server: Callable[..., RtspServer], auth: str) -> None:
    server = rtsp_server("--user", USER, "--auth", auth, password=PASSWORD)
    settings = section(server.uri, username=USER)
    result = check_camera("door", settings, PASSWORD, never)
    assert result.status is Status.OK, result
    size, rate, unit, *_ = result.found.split()
    assert (size, unit) == ("320x240", "fps")
    assert 10 < float(rate) < 40
    assert "video H264" in result.found

    wrong = check_camera("door", settings, "wrong", never)
    assert wrong.status is Status.FAILED
    assert "refuses this user name and password" in wrong.found


@pytest.mark.rtsp
@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_a_camera_describes_itself_to_who_knows_the_password(
    rtsp_server: Callable[..., RtspServer], auth: str
) -> None:
    server = rtsp_server("--user", USER, "--auth", auth, password=PASSWORD)
    with pytest.raises(CaptureError, match="answers 401"):
        describe_tracks(server.uri, Credentials(USER, "wrong"), 5)
    (track,) = describe_tracks(server.uri, Credentials(USER, PASSWORD), 5)
    assert (track.media, track.codec) == ("video", "H264")


def test_a_camera_that_is_away_says_what_was_found() -> None:
    port = free_port()
    result = check_camera("door", section(f"rtsp://127.0.0.1:{port}/stream1"), None, never)
    assert (result.status, result.found) == (Status.FAILED, f"127.0.0.1:{port} refuses connections")


def test_a_device_that_the_service_uses_is_not_called_broken() -> None:
    settings = section("v4l2:///dev/video-none")
    assert check_camera("yard", settings, None, never).status is Status.FAILED
    assert check_camera("yard", settings, None, lambda: True).status is Status.OK


def test_a_scene_has_a_rate() -> None:
    result = check_camera("street", section("scene://street?seed=1&size=320x192&fps=10"), None, never)
    assert result.status is Status.OK
    assert result.found.startswith("320x192 ")


def test_a_description_names_audio_and_the_rate() -> None:
    tracks = parse_sdp(
        "v=0\ns=Session\nm=video 0 RTP/AVP 96\na=rtpmap:96 H265/90000\na=framerate:25.0\n"
        "m=audio 0 RTP/AVP 0\na=control:track2\n"
        "m=application 0 RTP/AVP 107\na=rtpmap:107 vnd.onvif.metadata/90000\n"
    )
    assert [str(track) for track in tracks] == [
        "video H265 25 fps",
        "audio PCMU",
        "application VND.ONVIF.METADATA",
    ]


@pytest.mark.parametrize("rate", ["1.2.3", ".", "9" * 400, "-1", "nan", "", "25 fps"])
def test_a_rate_that_is_no_number_costs_no_track(rate: str) -> None:
    (track,) = parse_sdp(f"v=0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=framerate:{rate}\n")
    assert (track.media, track.codec) == ("video", "H264")
    assert track.fps is None or 0 < track.fps < 1e6


def test_an_empty_description_has_no_tracks() -> None:
    assert parse_sdp("") == ()
    assert parse_sdp("m=\n") == (Track("unknown", None),)
