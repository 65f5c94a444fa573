from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.capture.credentials import Credentials
from edge_app.capture.gstreamer import elements_of_plugins
from edge_app.capture.pipelines import (
    CSI_ELEMENTS,
    NV12_TAILS,
    RTSP_ELEMENTS,
    V4L2_ELEMENTS,
    csi_pipeline,
    custom_pipeline,
    rtsp_pipeline,
    v4l2_pipeline,
)
from edge_app.config.camera_uri import parse_camera_uri
from edge_app.errors import CaptureError

JETSON = (
    RTSP_ELEMENTS | V4L2_ELEMENTS | CSI_ELEMENTS | {"nvv4l2decoder", "avdec_h264", "avdec_h265", "decodebin"}
)
DESKTOP = RTSP_ELEMENTS | V4L2_ELEMENTS | {"avdec_h264", "avdec_h265", "decodebin", "jpegdec"}
BARE = RTSP_ELEMENTS | {"decodebin"}
SINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
HARDWARE_END = f"nvvidconv ! video/x-raw,format=BGRx ! {SINK}"


def rtsp(
    elements: frozenset[str], transport: str = "tcp", credentials: Credentials | None = None
) -> tuple[str, str]:
    uri = parse_camera_uri("rtsp://10.0.0.7:554/main?channel=1&subtype=0")
    found = rtsp_pipeline(
        uri, credentials or Credentials(), elements=elements, transport=transport, timeout_s=11
    )
    return found.text, found.decoder


def test_a_jetson_decodes_rtsp_in_hardware() -> None:
    text, decoder = rtsp(JETSON)
    assert decoder == "gstreamer nvv4l2decoder"
    assert text == (
        'rtspsrc name=camera location="rtsp://10.0.0.7:554/main?channel=1&subtype=0" protocols=tcp latency=0 '
        "drop-on-latency=true tcp-timeout=11000000 tls-validation-flags=0 funnel name=video "
        "camera. ! application/x-rtp,media=video,encoding-name=H264 ! rtph264depay ! h264parse "
        "! video/x-h264,stream-format=byte-stream,alignment=au ! video. "
        "camera. ! application/x-rtp,media=video,encoding-name=H265 ! rtph265depay ! h265parse "
        "! video/x-h265,stream-format=byte-stream,alignment=au ! video. "
        f"video. ! nvv4l2decoder ! {HARDWARE_END}"
    )


def test_without_the_hardware_each_codec_gets_its_software_decoder() -> None:
    text, decoder = rtsp(DESKTOP)
    assert decoder == "gstreamer avdec"
    assert "! avdec_h264 output-corrupt=false ! video." in text
    assert "! avdec_h265 output-corrupt=false ! video." in text
    assert text.endswith(f"video. ! {SINK}")
    assert "nv" not in text.split()


def test_without_libav_decodebin_chooses() -> None:
    text, decoder = rtsp(BARE)
    assert decoder == "gstreamer decodebin"
    assert text.endswith(f"video. ! decodebin ! {SINK}")


def test_udp_waits_for_packets_that_were_overtaken() -> None:
    assert "protocols=udp latency=100" in rtsp(JETSON, "udp")[0]


def test_credentials_are_properties_quoted_against_the_parser() -> None:
    text, _ = rtsp(JETSON, credentials=Credentials("ad min", 'a"b\\c ! fakesink'))
    assert 'user-id="ad min" user-pw="a\\"b\\\\c ! fakesink"' in text


def test_a_pipeline_does_not_show_its_text() -> None:
    uri = parse_camera_uri("rtsp://10.0.0.7/main")
    pipeline = rtsp_pipeline(
        uri, Credentials("admin", "c4n4ry"), elements=JETSON, transport="tcp", timeout_s=11
    )
    assert "c4n4ry" not in repr(pipeline)


@pytest.mark.parametrize(
    ("uri", "caps"),
    [
        (
            "csi://0",
            "sensor-id=0 ! video/x-raw(memory:NVMM),format=NV12,width=1920,height=1080,framerate=30/1",
        ),
        (
            "csi://1?size=1280x720&fps=59.94",
            "sensor-id=1 ! video/x-raw(memory:NVMM),format=NV12,width=1280,height=720,framerate=2997/50",
        ),
    ],
)
def test_csi_cameras_go_through_the_signal_processor(uri: str, caps: str) -> None:
    pipeline = csi_pipeline(parse_camera_uri(uri), elements=JETSON)
    assert pipeline.text == f"nvarguscamerasrc {caps} ! {HARDWARE_END}"
    assert pipeline.decoder == "gstreamer nvarguscamerasrc"


def test_a_model_on_the_gpu_gets_nv12_which_is_half_the_bytes() -> None:
    end = "nvvidconv ! video/x-raw,format=NV12 ! appsink drop=true max-buffers=1 sync=false"
    csi = csi_pipeline(parse_camera_uri("csi://0"), elements=JETSON, tails=NV12_TAILS)
    usb = v4l2_pipeline(parse_camera_uri("v4l2:///dev/video0"), elements=DESKTOP, tails=NV12_TAILS)
    assert csi.text.endswith(f"framerate=30/1 ! {end}")
    assert usb.text.endswith(f"video/x-raw ! videoconvert ! {end.partition(' ! ')[2]}")
    assert csi.nv12
    assert usb.nv12
    assert not csi_pipeline(parse_camera_uri("csi://0"), elements=JETSON).nv12


def test_a_machine_without_csi_says_what_is_missing() -> None:
    with pytest.raises(CaptureError, match="nvarguscamerasrc, nvvidconv, which are not here"):
        csi_pipeline(parse_camera_uri("csi://0"), elements=DESKTOP)


@pytest.mark.parametrize(
    ("uri", "elements", "expected", "decoder"),
    [
        ("v4l2:///dev/video0", DESKTOP, f'v4l2src device="/dev/video0" ! video/x-raw ! {SINK}', "v4l2src"),
        (
            "v4l2:///dev/video0?size=640x480&fps=30&format=yuyv",
            JETSON,
            'v4l2src device="/dev/video0" ! video/x-raw,format=YUY2,width=640,height=480,framerate=30/1 ! '
            + SINK,
            "v4l2src",
        ),
        (
            "v4l2:///dev/video2?size=1920x1080&format=mjpeg",
            JETSON,
            'v4l2src device="/dev/video2" ! image/jpeg,width=1920,height=1080 ! nvv4l2decoder mjpeg=1 ! '
            + HARDWARE_END,
            "nvv4l2decoder",
        ),
        (
            "v4l2:///dev/video2?format=mjpeg",
            DESKTOP,
            f'v4l2src device="/dev/video2" ! image/jpeg ! jpegdec ! {SINK}',
            "jpegdec",
        ),
    ],
)
def test_usb_cameras(uri: str, elements: frozenset[str], expected: str, decoder: str) -> None:
    pipeline = v4l2_pipeline(parse_camera_uri(uri), elements=elements)
    assert (pipeline.text, pipeline.decoder) == (expected, f"gstreamer {decoder}")


def test_a_pipeline_of_ones_own_gets_a_sink() -> None:
    uri = parse_camera_uri("gst://v4l2src device=/dev/video0 ! image/jpeg,width=640 ! jpegdec")
    pipeline = custom_pipeline(uri, elements=DESKTOP)
    assert pipeline.text == f"v4l2src device=/dev/video0 ! image/jpeg,width=640 ! jpegdec ! {SINK}"


def test_a_pipeline_of_ones_own_may_bring_its_sink() -> None:
    uri = parse_camera_uri("gst://v4l2src ! videoconvert ! appsink sync=false")
    assert custom_pipeline(uri, elements=DESKTOP).text == "v4l2src ! videoconvert ! appsink sync=false"


def test_an_element_that_is_not_there_is_named() -> None:
    with pytest.raises(CaptureError, match="names v4l3src, which"):
        custom_pipeline(parse_camera_uri("gst://v4l3src ! videoconvert"), elements=DESKTOP)


def test_without_gst_inspect_the_plugins_tell_the_elements() -> None:
    folder = Path("/usr/lib/aarch64-linux-gnu/gstreamer-1.0")
    names = ["libgstnvvideo4linux2.so", "libgstnvvidconv.so", "libgstsomethingelse.so"]
    assert elements_of_plugins([folder / name for name in names]) == {"nvv4l2decoder", "nvvidconv"}
