"""The values that travel along the street: immutable, and of no behaviour that needs a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray


class PixelFormat(Enum):
    """How the bytes of a frame are laid out."""

    BGR = "bgr"
    """(height, width, 3) uint8, interleaved blue, green, red."""
    NV12 = "nv12"
    """(height * 3 / 2, width) uint8: a luma plane, then interleaved chroma at half the resolution."""
    P016 = "p016"
    """As NV12 with two bytes for each sample, little-endian, of which the highest bits count: what decoders
    make of 10 and 12 bits. In device memory only."""


class YuvMatrix(Enum):
    """Which red, green and blue a luma and two chromas stand for."""

    BT601 = "bt601"
    """ITU-R BT.601; also what is taken for streams that do not say, as FFmpeg does."""
    BT709 = "bt709"
    """ITU-R BT.709, of most HD video."""
    BT2020 = "bt2020"
    """ITU-R BT.2020, non-constant luminance."""


@dataclass(frozen=True, slots=True)
class YuvColors:
    """How luma and chroma are to be read. Limited range: luma 16 to 235, chroma 16 to 240, of 255."""

    matrix: YuvMatrix = YuvMatrix.BT601
    full_range: bool = False


class CameraState(str, Enum):
    """What a camera is doing, as its subscribers see it."""

    CONNECTING = "connecting"
    STREAMING = "streaming"
    STALLED = "stalled"
    FROZEN = "frozen"
    """Frames come, and all show the same picture."""
    LOST = "lost"
    DISABLED = "disabled"
    """A command said so; another one enables it."""
    ENDED = "ended"
    """No more frames will come: a file or folder delivered its last one, or the daemon was stopped."""


class NodeState(str, Enum):
    """What the daemon is doing, as its subscribers see it. `LOST` is the broker's will."""

    STARTING = "starting"
    ONLINE = "online"
    DEGRADED = "degraded"
    STOPPING = "stopping"
    LOST = "lost"


class DropReason(str, Enum):
    """Why a captured frame, or a finished detections message, went no further."""

    SUPERSEDED = "superseded"
    """A newer frame of the same live camera arrived before this one was taken."""
    TOO_OLD = "too_old"
    """The frame was older than `max_age_ms` when its turn came."""
    SHUTDOWN = "shutdown"
    """The frame was still waiting when the daemon stopped, or its camera was altered or taken out."""
    PUBLISH_QUEUE_FULL = "publish_queue_full"
    """The detections waited behind more messages than the publish lane holds."""
    BROKER_ABSENT = "broker_absent"
    """There was no connection to the broker; live detections are not kept."""
    OUTBOX_FULL = "outbox_full"
    """The outbox held more than `mqtt.outbox.max_mib`, and this was the oldest."""
    OUTBOX_EXPIRED = "outbox_expired"
    """The message waited in the outbox for longer than `mqtt.outbox.max_age_s`."""
    OUTBOX_UNWRITABLE = "outbox_unwritable"
    """The message could not be written to the disk."""
    TOO_LARGE = "too_large"
    """The message has more bytes than the broker takes."""
    FILE_UNWRITABLE = "file_unwritable"
    """The file of a sink could not be written."""


class Lease(Protocol):
    """Borrowed pixel memory."""

    @property
    def pinned(self) -> bool:
        """Whether it is page-locked, so that a GPU can read it by itself."""

    def release(self) -> None:
        """Give the memory back to its pool. Calling it again does nothing."""


@dataclass(frozen=True, slots=True)
class Surface:
    """A decoded picture in a GPU's memory: rows of luma, then of interleaved chroma at half the resolution.

    Attributes:
        device: Number of the GPU.
        address: Of the first luma sample.
        chroma_address: Of the first chroma sample.
        pitch_bytes: From row to row, of both.
    """

    device: int
    address: int
    chroma_address: int
    pitch_bytes: int


Pixels: TypeAlias = "NDArray[np.uint8] | Surface"
"""Where a picture is: an array in host memory, or a surface in a GPU's."""


def in_host_memory(pixels: Pixels) -> NDArray[np.uint8]:
    """Return the array. Raises ValueError for a surface."""
    if isinstance(pixels, Surface):
        raise ValueError("the picture is in a GPU's memory")  # noqa: TRY004 - the right type, elsewhere
    return pixels


BT601_LIMITED_RANGE = YuvColors()
"""What is taken for streams that do not say."""


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """What is known of a frame; outlives its pixels."""

    camera_id: str
    frame_id: int
    """+1 for each captured frame of the camera since the daemon's start: a gap downstream is a drop."""
    captured_ns: int
    """`time.monotonic_ns()` when decoding of the frame finished."""
    captured_at_ns: int
    """Unix time in nanoseconds (UTC) of the same moment."""
    width: int
    height: int
    capture_ms: float = 0.0
    """Time that decoding (or rendering) the frame took, in milliseconds; waiting for the camera excluded
    where the source can tell the two apart."""
    media_time_s: float | None = None
    """Position in the file or stream, where known."""
    camera_time_ns: int | None = None
    """Unix time in nanoseconds at which the camera took the picture, by its own clock, where it tells."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of one camera. Whoever finishes or drops it calls `release`."""

    info: FrameInfo
    pixels: Pixels
    pixel_format: PixelFormat = PixelFormat.BGR
    lease: Lease | None = None
    colors: YuvColors = BT601_LIMITED_RANGE
    """How to read the pixels, unless they are BGR."""

    @property
    def array(self) -> NDArray[np.uint8]:
        """The pixels in host memory. Raises ValueError where they are in a GPU's."""
        return in_host_memory(self.pixels)

    @property
    def pinned(self) -> bool:
        """Whether the pixels lie in page-locked memory, so that a GPU can read them by itself."""
        return self.lease is not None and self.lease.pinned

    def release(self) -> None:
        """Return borrowed pixel memory; the pixels must not be touched afterwards. Idempotent."""
        if self.lease is not None:
            self.lease.release()


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Decoded model output for one frame, before non-maximum suppression.

    `xyxy` is (N, 4) float32 in model input pixels, `confidence` (N,) float32, `class_id` (N,) int32.
    The order is the model's anchor order, which breaks ties of confidence.
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]
    overflow: int = 0
    """Candidates above the threshold that did not fit and were left out."""
    invalid: int = 0
    """Candidates left out because a number was not finite or the box had no area."""
    suppressed: bool = False
    """Whether one box is left for each object already, so that no suppression must follow."""
    ordered: bool = False
    """Whether they are ordered by descending confidence instead, equal ones in anchor order."""


@dataclass(frozen=True, slots=True)
class Timings:
    """How long one frame spent in each stage, in milliseconds."""

    capture_ms: float = 0.0
    preprocess_ms: float = 0.0
    inference_ms: float = 0.0
    postprocess_ms: float = 0.0
    waiting_ms: float = 0.0
    """From the end of decoding until the frame was taken from its lane."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What was found in one frame: columns of equal length, read-only.

    `xyxy` is (N, 4) float32 in image pixels, clipped to the image; `confidence` (N,) float32 in 0..1,
    descending; `class_id` (N,) int32; `track_id` (N,) int64 or None where nothing tracks.

    Raises:
        ValueError: If the columns disagree in length or shape.
    """

    info: FrameInfo
    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]
    track_id: NDArray[np.int64] | None = None
    timings: Timings = field(default_factory=Timings)

    def __post_init__(self) -> None:
        count = len(self.xyxy)
        if self.xyxy.shape != (count, 4):
            raise ValueError(f"xyxy must be (N, 4), found {self.xyxy.shape}")
        columns = [self.confidence, self.class_id] + ([] if self.track_id is None else [self.track_id])
        for column in columns:
            if column.shape != (count,):
                raise ValueError(f"every column must be ({count},) like xyxy, found {column.shape}")
        for column in (self.xyxy, *columns):
            column.setflags(write=False)

    def __len__(self) -> int:
        return len(self.xyxy)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What produced the detections; published with each of them."""

    name: str
    sha256: str
    labels: tuple[str, ...]
    backend: str
    precision: str
    engine_sha256: str | None = None
    """Of the engine's plan, where the backend runs one."""
    configured_name: str | None = None
    """Its name below `models` in the configuration; None: the one of `model`."""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What runs on this node.

    Attributes:
        started_at_ns: Unix time in nanoseconds.
        models: By camera; of all cameras, at least one.
        decoders: By camera, in words: what was chosen at the start.
        history: By camera, also of those that have gone, the models of its frames: from which frame on, and
            which. Empty: they were always those of `models`.
    """

    version: str
    python: str
    platform: str
    started_at_ns: int
    models: Mapping[str, ModelInfo]
    decoders: Mapping[str, str] = field(default_factory=dict)
    history: Mapping[str, tuple[tuple[int, ModelInfo], ...]] = field(default_factory=dict)

    def model_of(self, frame: FrameInfo) -> ModelInfo:
        """Return the model that a frame was looked at with. Raises KeyError if there was no such camera."""
        for first_frame_id, model in reversed(self.history.get(frame.camera_id, ())):
            if frame.frame_id >= first_frame_id:
                return model
        return self.models[frame.camera_id]


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """A camera's state at one moment, with the reason in words when it is not streaming."""

    camera_id: str
    state: CameraState
    reason: str | None = None
    decoder: str | None = None
    """Which way in was chosen, in words a person understands, such as `gstreamer nvv4l2decoder`."""
    width: int | None = None
    height: int | None = None
    reconnects: int = 0
    decoder_fallbacks: int = 0
    """How often a decoder failed and another took its place."""
