"""GStreamer pipelines for cameras, as text: hardware where the machine has it, software where not.

Every pipeline ends in an appsink that holds the newest frame alone and never waits for a clock. The
hardware elements are those of JetPack: nvarguscamerasrc (CSI), nvv4l2decoder, nvvidconv.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from fractions import Fraction

from edge_app.capture.credentials import Credentials
from edge_app.config.camera_uri import CameraUri
from edge_app.errors import CaptureError

# OpenCV finds the sink by its default name.
_APPSINK = "appsink drop=true max-buffers=1 sync=false"
SINK = f"video/x-raw,format=BGR ! {_APPSINK}"
_SOFTWARE_TAIL = f"videoconvert ! {SINK}"


@dataclass(frozen=True, slots=True)
class Tails:
    """What follows a decoder, in the system's memory and in the hardware's.

    Attributes:
        software: Behind elements whose pictures lie in the system's memory.
        hardware: Behind those of JetPack.
        nv12: Whether NV12 comes out, not BGR: half the bytes, and no conversion of colours on the CPU.
    """

    software: str
    hardware: str
    nv12: bool


# nvvidconv copies out of the hardware's memory and knows no three-byte format; videoconvert drops the fourth.
BGR_TAILS = Tails(_SOFTWARE_TAIL, f"nvvidconv ! video/x-raw,format=BGRx ! {_SOFTWARE_TAIL}", nv12=False)
_NV12_SINK = f"video/x-raw,format=NV12 ! {_APPSINK}"
NV12_TAILS = Tails(f"videoconvert ! {_NV12_SINK}", f"nvvidconv ! {_NV12_SINK}", nv12=True)
"""For models whose backend letterboxes on the GPU."""

_CODECS = {"H264": "h264", "H265": "h265"}
_JITTER_MS = {"tcp": 0, "udp": 100}
"""RTP over TCP arrives in order; over UDP packets overtake one another."""

RTSP_ELEMENTS = frozenset(
    {"rtspsrc", "rtph264depay", "h264parse", "rtph265depay", "h265parse", "videoconvert", "appsink"}
)
V4L2_ELEMENTS = frozenset({"v4l2src", "videoconvert", "appsink"})
CSI_ELEMENTS = frozenset({"nvarguscamerasrc", "nvvidconv", "videoconvert", "appsink"})
_HARDWARE_DECODER = frozenset({"nvv4l2decoder", "nvvidconv"})
_SOFTWARE_DECODER = frozenset({"avdec_h264", "avdec_h265"})


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline to open.

    Attributes:
        text: What gst-launch-1.0 would take; may hold credentials.
        decoder: The way in, in words.
        nv12: Whether NV12 comes out of it, not BGR.
    """

    text: str = field(repr=False)
    decoder: str
    nv12: bool = False


def rtsp_pipeline(
    uri: CameraUri,
    credentials: Credentials,
    *,
    elements: AbstractSet[str],
    transport: str,
    timeout_s: float,
    tails: Tails = BGR_TAILS,
) -> Pipeline:
    """Return the pipeline of an RTSP camera, for H.264 and H.265 alike.

    One branch for each codec waits for a track of its kind; tracks of neither kind (audio, metadata) find
    no branch and are left alone. Both branches meet in a funnel. `timeout_s` of silence ends a connection
    over TCP; our own clock judges it before.
    """
    source = [
        f"rtspsrc name=camera location={_quoted(uri.location)}",
        f"protocols={transport} latency={_JITTER_MS[transport]} drop-on-latency=true",
        f"tcp-timeout={round(timeout_s * 1e6)} tls-validation-flags=0",
    ]
    if credentials:
        source.append(
            f"user-id={_quoted(credentials.username or '')} user-pw={_quoted(credentials.password or '')}"
        )
    decoder, in_branch, tail = _rtsp_decoder(elements, tails)
    branches = [
        f"camera. ! application/x-rtp,media=video,encoding-name={name} ! rtp{codec}depay ! {codec}parse "
        f"! video/x-{codec},stream-format=byte-stream,alignment=au ! {in_branch.format(codec=codec)}video."
        for name, codec in _CODECS.items()
    ]
    text = " ".join([*source, "funnel name=video", *branches, f"video. ! {tail}"])
    return Pipeline(text, decoder, tails.nv12)


def csi_pipeline(uri: CameraUri, *, elements: AbstractSet[str], tails: Tails = BGR_TAILS) -> Pipeline:
    """Return the pipeline of a CSI camera, through the image signal processor.

    Raises:
        CaptureError: This machine has no such cameras.
    """
    if missing := sorted(CSI_ELEMENTS - elements):
        raise CaptureError(
            f"CSI cameras need the GStreamer elements {', '.join(missing)}, which are not here",
            hint="they come with JetPack (nvidia-l4t-gstreamer)",
        )
    width, height = uri.size or (1920, 1080)
    rate = _framerate(uri.fps or 30)
    caps = f"video/x-raw(memory:NVMM),format=NV12,width={width},height={height},framerate={rate}"
    text = f"nvarguscamerasrc sensor-id={uri.location} ! {caps} ! {tails.hardware}"
    return Pipeline(text, "gstreamer nvarguscamerasrc", tails.nv12)


def v4l2_pipeline(uri: CameraUri, *, elements: AbstractSet[str], tails: Tails = BGR_TAILS) -> Pipeline:
    """Return the pipeline of a USB camera: raw video, or Motion JPEG where the URI says so."""
    size = f",width={uri.size[0]},height={uri.size[1]}" if uri.size else ""
    rate = f",framerate={_framerate(uri.fps)}" if uri.fps else ""
    source = f"v4l2src device={_quoted(uri.location)}"
    if uri.pixel_format == "mjpeg":
        jpeg = f"{source} ! image/jpeg{size}{rate}"
        if elements >= _HARDWARE_DECODER:
            text = f"{jpeg} ! nvv4l2decoder mjpeg=1 ! {tails.hardware}"
            return Pipeline(text, "gstreamer nvv4l2decoder", tails.nv12)
        return Pipeline(f"{jpeg} ! jpegdec ! {tails.software}", "gstreamer jpegdec", tails.nv12)
    pixels = ",format=YUY2" if uri.pixel_format == "yuyv" else ""
    text = f"{source} ! video/x-raw{pixels}{size}{rate} ! {tails.software}"
    return Pipeline(text, "gstreamer v4l2src", tails.nv12)


def custom_pipeline(uri: CameraUri, *, elements: AbstractSet[str]) -> Pipeline:
    """Return the user's own pipeline, with a sink where it has none.

    Raises:
        CaptureError: It names an element that this machine does not have.
    """
    first_words = [part.split()[0] for part in uri.location.split("!") if part.split()]
    plain = [word for word in first_words if word.replace("-", "").replace("_", "").isalnum()]
    if missing := sorted(set(plain) - elements):
        raise CaptureError(
            f"the pipeline names {', '.join(missing)}, which this machine's GStreamer does not have",
            hint="gst-inspect-1.0 lists what it has",
        )
    text = uri.location if "appsink" in plain else f"{uri.location} ! {_SOFTWARE_TAIL}"
    return Pipeline(text, "gstreamer pipeline of the configuration")


def _rtsp_decoder(elements: AbstractSet[str], tails: Tails) -> tuple[str, str, str]:
    """Return the decoder in words, what stands in each codec's branch, and what follows the funnel."""
    if elements >= _HARDWARE_DECODER:
        return "gstreamer nvv4l2decoder", "", f"nvv4l2decoder ! {tails.hardware}"
    if elements >= _SOFTWARE_DECODER:
        # Joined between two keyframes, a stream decodes to grey smears at first: they are no pictures.
        return "gstreamer avdec", "avdec_{codec} output-corrupt=false ! ", tails.software
    return "gstreamer decodebin", "", f"decodebin ! {tails.software}"


def _framerate(fps: float) -> str:
    rate = Fraction(fps).limit_denominator(1001)
    return f"{rate.numerator}/{rate.denominator}"


def _quoted(value: str) -> str:
    """Quote a value for gst_parse_launch: in double quotes a backslash takes the next character's meaning."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
