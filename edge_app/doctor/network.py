"""Broker and cameras, tried for real with the configuration's own credentials."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from edge_app.capture.credentials import Credentials
from edge_app.capture.factory import create_source
from edge_app.capture.rtsp_tracks import Track, describe_tracks
from edge_app.config.camera_uri import CameraKind, parse_camera_uri
from edge_app.config.models import CameraSection, MqttSection
from edge_app.doctor.result import Result, failed, ok, warning
from edge_app.errors import CaptureError, EndOfStream
from edge_app.interfaces import Source
from edge_app.publish.broker import BrokerOptions
from edge_app.publish.connection import BrokerConnection
from edge_app.publish.traffic import Traffic

BROKER_WAIT_S = 8.0
SAMPLE_S = 2.0
FIRST_PICTURE_S = 10.0
DESCRIBE_S = 3.0
KNOWN_CODECS = frozenset({"H264", "H265", "JPEG"})
VIDEO_FIX = "Set the camera's stream to H.264 or H.265."


def check_broker(section: MqttSection, password: str | None, where: str = "mqtt") -> Result:
    """Connect to a broker under a name of our own, and disconnect again.

    Args:
        section: Of the broker.
        password: What its password reference stands for.
        where: The section's key.
    """
    name = f"edge-app-doctor-{secrets.token_hex(3)}"  # the daemon's own name would throw the daemon out
    options = BrokerOptions.from_section(
        section.model_copy(update={"client_id": None}), client_id=name, password=password, where=where
    )
    connection = BrokerConnection(options, Traffic())
    connection.start()
    deadline_s = time.monotonic() + BROKER_WAIT_S
    while not connection.connected and connection.problem is None and time.monotonic() < deadline_s:
        time.sleep(0.02)
    connected, version = connection.connected, connection.version
    problem = connection.problem or f"no answer within {BROKER_WAIT_S:g} s"
    connection.stop(1.0)
    if not connected:
        return failed(
            f"{options.address}: {problem}",
            f"Is the broker running, and {where}.uri right? nc -vz HOST PORT tries the way there. "
            "The daemon runs without it and tries for ever.",
        )
    found = f"connected to {options.address} with MQTT {version}"
    if options.password is not None and not options.address.encrypted and not options.address.local:
        return warning(f"{found}; the password travels unencrypted", "Use mqtts:// if the broker can.")
    if section.tls.insecure:
        return warning(
            f"{found}; its certificate is not checked", f"Set {where}.tls.ca_file, and insecure: false."
        )
    return ok(found)


def check_camera(
    camera_id: str, section: CameraSection, password: str | None, in_use: Callable[[], bool]
) -> Result:
    """Open a camera as the daemon does, but for the GPU's decoder, and look at its pictures for two seconds.

    Args:
        camera_id: Its name.
        section: Its section; max_fps does not count here.
        password: What its password reference stands for.
        in_use: Asked if a camera that serves one program alone cannot be opened: does the service run?
    """
    uri = parse_camera_uri(section.uri)
    # The GPU's decoder has a check of its own; here it is the camera that is looked at.
    decoder = "auto" if section.decoder == "nvdec" else section.decoder
    settings = section.model_copy(update={"max_fps": None, "decoder": decoder})
    source = create_source(camera_id, settings, password)
    try:
        source.open()
        sample = _sample(source, section.open_timeout_s)
        if sample is None:
            return failed(f"opened through {source.decoder}, but no picture came", _advice(uri.kind))
        times_s, (width, height) = sample
        found = f"{width}x{height}{_rate(times_s, live=source.live)} through {source.decoder}"
        if uri.kind is not CameraKind.RTSP:
            return ok(found)
        # While it streams: a description asks for no session of its own, of which some cameras have one.
        return _with_tracks(found, uri.location, Credentials(section.username, password))
    except CaptureError as error:
        if uri.kind in (CameraKind.V4L2, CameraKind.CSI) and in_use():
            return ok("not tried: the service runs and has it (systemctl status edge-app says its state)")
        return failed(error.message, error.hint or _advice(uri.kind))
    finally:
        source.close()


def _sample(source: Source, timeout_s: float) -> tuple[list[float], tuple[int, int]] | None:
    """Return when the pictures of the sample came, and the size of the last (width, height)."""
    times_s: list[float] = []
    size = (0, 0)
    deadline_s = time.monotonic() + max(timeout_s, FIRST_PICTURE_S)
    while time.monotonic() < deadline_s:
        try:
            picture = source.read(0.25)
        except EndOfStream:
            break
        if picture is None:
            continue
        if not times_s:
            deadline_s = time.monotonic() + SAMPLE_S
        times_s.append(picture.captured_ns / 1e9)
        size = picture.width_height
        if picture.lease is not None:
            picture.lease.release()
    return (times_s, size) if times_s else None


def _rate(times_s: list[float], *, live: bool) -> str:
    if not live or len(times_s) < 3:
        return ""
    return f" {(len(times_s) - 1) / (times_s[-1] - times_s[0]):.1f} fps"


def _with_tracks(found: str, location: str, credentials: Credentials) -> Result:
    try:
        tracks = describe_tracks(location, credentials, DESCRIBE_S)
    except CaptureError as error:
        return warning(f"{found}; {error.message}", "It delivers pictures all the same.")
    listed = f"{found}; {', '.join(map(str, tracks))}"
    if not _video(tracks):
        return warning(f"{listed}: it describes no video of a codec that is known", VIDEO_FIX)
    return ok(listed)


def _video(tracks: tuple[Track, ...]) -> bool:
    return any(track.media == "video" and track.codec in KNOWN_CODECS for track in tracks)


def _advice(kind: CameraKind) -> str:
    return {
        CameraKind.RTSP: "Open the same URI in a player; look at the camera's address, stream path, user and "
        "password, and at how many viewers it allows.",
        CameraKind.HTTP: "Open the same URI in a browser; look at address, path, user and password.",
        CameraKind.V4L2: "v4l2-ctl --list-devices and --list-formats-ext say what is there, and "
        "fuser -v /dev/video* who uses it.",
        CameraKind.CSI: "sudo systemctl restart nvargus-daemon; nvgstcapture-1.0 tries the sensor; was it "
        "configured (sudo /opt/nvidia/jetson-io/jetson-io.py)?",
        CameraKind.GSTREAMER: "Try the pipeline with gst-launch-1.0 and an autovideosink.",
    }.get(kind, "Look whether the file is there and can be played.")
