"""From a camera's configuration to its source: which way in this machine has, chosen openly."""

from __future__ import annotations

import logging
from collections.abc import Set as AbstractSet

from edge_app.capture.attempt import Camera
from edge_app.capture.choice import ChosenSource, DecoderChoice, Way
from edge_app.capture.credentials import Credentials
from edge_app.capture.diagnosis import explain_device, explain_server
from edge_app.capture.ffmpeg import (
    FFMPEG,
    READ_GRACE_S,
    file_opening,
    follows_size_changes,
    is_segmented,
    network_opening,
)
from edge_app.capture.gstreamer import available_elements, opencv_has_gstreamer, pipeline_opening
from edge_app.capture.images import ImageSource, leads_to_images
from edge_app.capture.opencv import Opening, VideoSource
from edge_app.capture.pipelines import (
    BGR_TAILS,
    NV12_TAILS,
    RTSP_ELEMENTS,
    V4L2_ELEMENTS,
    Tails,
    csi_pipeline,
    custom_pipeline,
    rtsp_pipeline,
    v4l2_pipeline,
)
from edge_app.capture.pool import FramePool
from edge_app.capture.transport import usable_transport
from edge_app.capture.v4l2 import v4l2_opening
from edge_app.config.camera_uri import CameraKind, CameraUri, parse_camera_uri
from edge_app.config.models import CameraSection
from edge_app.errors import CaptureError, ConfigError
from edge_app.interfaces import PixelMemory, Source, VideoDecoders

logger = logging.getLogger(__name__)

POOL_FRAMES = 12
"""Kept for one camera: one of each batch in flight, one that waits, one that is decoded, and some more."""


def create_camera(
    camera_id: str,
    settings: CameraSection,
    password: str | None,
    memory: PixelMemory | None = None,
    decoders: VideoDecoders | None = None,
    *,
    nv12: bool = False,
) -> Camera:
    """Return the camera that a section describes; each connection gets a source of its own.

    Args:
        camera_id: Its name.
        settings: Its section.
        password: Its password, if it has one.
        memory: What its frames are decoded into; None: ordinary memory.
        decoders: Decode into the memory of the GPU that its model runs on; None: there are none.
        nv12: Whether its model takes NV12, so that GStreamer need not convert it.

    Raises:
        ConfigError: The URI cannot be understood.
        CaptureError: This machine has no way to read such cameras.
    """
    pool = FramePool(POOL_FRAMES, memory)
    choice = DecoderChoice(camera_id, possible_ways(camera_id, settings, decoders))

    def connect(way: Way) -> Source:
        falls_back = way is Way.CPU and choice.fallbacks > 0
        usable = _with_usable_transport(camera_id, settings) if falls_back else settings
        return create_source(camera_id, usable, password, pool, decoders, way, nv12=nv12)

    source = connect(choice.way)
    logger.info("camera %s: read through %s", camera_id, source.decoder)
    if source.live and source.decoder == FFMPEG and not follows_size_changes():
        logger.warning(
            "camera %s: after a change of its resolution this OpenCV repeats an old picture; 4.14 does not",
            camera_id,
        )
    # Frames beyond max_fps are not seen from outside the source: silence may last as long as their interval.
    silence_s = 0.0 if settings.max_fps is None else 2 / settings.max_fps
    return Camera(
        camera_id,
        create_source=lambda: ChosenSource(choice, connect),
        live=source.live,
        conceal=Credentials(settings.username, password).conceal,
        stall_s=max(settings.stall_s, silence_s),
        open_timeout_s=settings.open_timeout_s,
        reconnect_min_s=settings.reconnect_min_s,
        reconnect_max_s=max(settings.reconnect_min_s, settings.reconnect_max_s),
        fallbacks=lambda: choice.fallbacks,
        decoder=source.decoder,
        transport=settings.transport if choice.way is Way.CPU and _is_rtsp(settings) else None,
        frozen_s=settings.frozen_s,
    )


def _with_usable_transport(camera_id: str, settings: CameraSection) -> CameraSection:
    """Return the settings of a camera whose decoder failed: another camera's choice must not cost it."""
    if not _is_rtsp(settings):
        return settings
    transport = usable_transport(settings.transport)
    if transport == settings.transport:
        return settings
    logger.warning(
        "camera %s: its RTSP goes over %s, not %s, as OpenCV takes one transport for all cameras",
        *(camera_id, transport, settings.transport),
    )
    return settings.model_copy(update={"transport": transport})


def _is_rtsp(settings: CameraSection) -> bool:
    return parse_camera_uri(settings.uri).kind is CameraKind.RTSP


def possible_ways(camera_id: str, settings: CameraSection, decoders: VideoDecoders | None) -> tuple[Way, ...]:
    """Return the decoders that a camera may use on this machine, best first.

    Raises:
        ConfigError: The one that the configuration names cannot be used for it.
    """
    uri = parse_camera_uri(settings.uri)
    is_video = uri.on_network or (uri.kind is CameraKind.FILE and not leads_to_images(uri.location))
    has_gstreamer = uri.kind is CameraKind.RTSP and _gstreamer_has(RTSP_ELEMENTS)
    wanted = settings.decoder
    if wanted == "auto":
        ways = [Way.NVDEC] if decoders is not None and is_video else []
        return (*ways, *([Way.GSTREAMER] if has_gstreamer else []), Way.CPU)
    way, found = Way(wanted), f"camera {camera_id}: decoder: {wanted}"
    if not is_video:
        raise ConfigError(f"{found} is for files, rtsp and http cameras, this is {uri.kind.value}")
    if way is Way.NVDEC and decoders is None:
        raise ConfigError(
            f"{found} needs a model that runs on a GPU with TensorRT, and PyNvVideoCodec and PyAV",
            hint="pip install 'edge-app[nvdec]', or write decoder: auto",
        )
    if way is Way.GSTREAMER and not has_gstreamer:
        raise ConfigError(
            f"{found} is for rtsp cameras, and needs an OpenCV built with GStreamer and its RTSP elements",
            hint="use the system's OpenCV (python3-opencv, or JetPack's), or write decoder: auto",
        )
    return (way,)


def create_source(
    camera_id: str,
    settings: CameraSection,
    password: str | None,
    pool: FramePool | None = None,
    decoders: VideoDecoders | None = None,
    way: Way | None = None,
    *,
    nv12: bool = False,
) -> Source:
    """Return a source, not yet open, of the camera that a section describes.

    Args:
        camera_id: For messages.
        settings: The section.
        password: What its password reference stands for.
        pool: Lends the pixel buffers; None: one of its own.
        decoders: Decode into device memory; None: there are none.
        way: Which decoder to use; None: the best that brings pictures into host memory.
        nv12: Whether GStreamer's pictures may stay in NV12.

    Raises:
        ConfigError: The URI cannot be understood.
        CaptureError: This machine has no way to read such cameras.
    """
    uri = parse_camera_uri(settings.uri)
    credentials = Credentials(settings.username, password)
    if credentials and not uri.on_network:
        raise ConfigError(
            f"camera {camera_id}: a user name or password is of no use to a {uri.kind.value} camera",
            hint="they belong to rtsp and http cameras",
        )
    if uri.kind is CameraKind.SCENE:
        # Rendering is no part of capture elsewhere.
        from edge_app.capture.scene import SceneSource

        return SceneSource(uri, settings.max_fps)
    if uri.kind is CameraKind.FILE and leads_to_images(uri.location):
        return ImageSource(uri.location, max_fps=settings.max_fps, loop=settings.loop)
    if way is None:
        way = possible_ways(camera_id, settings, None)[0]
    if way is Way.NVDEC and decoders is not None:
        return _device_source(uri, settings, credentials, decoders)
    opening = _opening(uri, settings, credentials, way, NV12_TAILS if nv12 else BGR_TAILS)
    return VideoSource(opening, pool or FramePool(), settings.max_fps)


def _device_source(
    uri: CameraUri, settings: CameraSection, credentials: Credentials, decoders: VideoDecoders
) -> Source:
    # PyAV is needed for this way alone.
    from edge_app.capture.device import DeviceSource
    from edge_app.capture.ffmpeg import file_address, network_address

    if uri.kind is CameraKind.FILE:
        address, paced = file_address(uri), settings.realtime
    else:
        address = network_address(
            uri,
            credentials,
            transport=settings.transport,
            open_timeout_s=settings.open_timeout_s,
            stall_s=settings.stall_s,
        )
        paced = is_segmented(uri)
    return DeviceSource(address, decoders, settings.max_fps, paced=paced, loop=settings.loop)


def _opening(
    uri: CameraUri, settings: CameraSection, credentials: Credentials, way: Way, tails: Tails
) -> Opening:
    if uri.kind is CameraKind.FILE:
        return file_opening(
            uri, decoder_threads=settings.decoder_threads, paced=settings.realtime, loop=settings.loop
        )
    if uri.kind in (CameraKind.CSI, CameraKind.GSTREAMER):
        if not opencv_has_gstreamer():
            raise CaptureError(
                f"{uri.kind.value}:// cameras need an OpenCV built with GStreamer; this one is not",
                hint="use the system's OpenCV (python3-opencv, or JetPack's) and not opencv-python from PyPI",
            )
        elements = available_elements()
        if uri.kind is CameraKind.CSI:
            pipeline = csi_pipeline(uri, elements=elements, tails=tails)
        else:
            pipeline = custom_pipeline(uri, elements=elements)
        return pipeline_opening(pipeline, explain=lambda: "the pipeline cannot be started")
    if uri.kind is CameraKind.V4L2:
        return _v4l2_opening(uri, tails)
    if way is Way.GSTREAMER:
        pipeline = rtsp_pipeline(
            uri,
            credentials,
            elements=available_elements(),
            transport=settings.transport,
            timeout_s=max(settings.open_timeout_s, settings.stall_s + READ_GRACE_S),
            tails=tails,
        )
        return pipeline_opening(pipeline, explain=lambda: explain_server(uri, credentials, timeout_s=1.5))
    return network_opening(
        uri,
        credentials,
        transport=settings.transport,
        open_timeout_s=settings.open_timeout_s,
        stall_s=settings.stall_s,
        decoder_threads=settings.decoder_threads,
    )


def _v4l2_opening(uri: CameraUri, tails: Tails) -> Opening:
    if _gstreamer_has(V4L2_ELEMENTS):
        pipeline = v4l2_pipeline(uri, elements=available_elements(), tails=tails)
        return pipeline_opening(pipeline, explain=lambda: explain_device(uri.location))
    return v4l2_opening(uri)


def _gstreamer_has(needed: AbstractSet[str]) -> bool:
    """Whether OpenCV has GStreamer and GStreamer the elements; what is missing is logged."""
    if not opencv_has_gstreamer():
        return False
    missing = sorted(needed - available_elements())
    if missing:
        logger.info("GStreamer lacks %s", ", ".join(missing))
    return not missing
