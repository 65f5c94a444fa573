"""The protocols that join the stages: a stage knows these, never another stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_app.geometry import InputSpec
from edge_app.messages import (
    BT601_LIMITED_RANGE,
    CameraStatus,
    Candidates,
    Detections,
    DropReason,
    Frame,
    Lease,
    ModelInfo,
    NodeInfo,
    NodeState,
    PixelFormat,
    Pixels,
    Surface,
    YuvColors,
    in_host_memory,
)

Tensor = NDArray[Any]
TensorMap = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What a source delivers: pixels and their times; the capture thread makes a Frame of it.

    Attributes:
        pixels: (height, width, 3) uint8 BGR, or what `pixel_format` says.
        captured_ns: `time.monotonic_ns()` when decoding finished.
        captured_at_ns: Unix time in nanoseconds of the same moment.
        capture_ms: Time that decoding or rendering took, in milliseconds.
        media_time_s: Position in the file or stream in seconds, where known.
        lease: Who gets the pixel memory back, where it is borrowed.
        pixel_format: How the pixels are laid out.
        colors: How to read them, unless they are BGR.
        size: (width, height) in pixels, where `pixels` is no BGR array.
        camera_time_ns: Unix time in nanoseconds at which the camera took it, by its own clock.
    """

    pixels: Pixels
    captured_ns: int
    captured_at_ns: int
    capture_ms: float = 0.0
    media_time_s: float | None = None
    lease: Lease | None = None
    pixel_format: PixelFormat = PixelFormat.BGR
    colors: YuvColors = BT601_LIMITED_RANGE
    size: tuple[int, int] | None = None
    camera_time_ns: int | None = None

    @property
    def width_height(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        if self.size is not None:
            return self.size
        height, width = self.array.shape[:2]
        return width, height

    @property
    def array(self) -> NDArray[np.uint8]:
        """The pixels in host memory. Raises ValueError where they are in a GPU's."""
        return in_host_memory(self.pixels)


@dataclass(frozen=True, slots=True)
class VideoStream:
    """What is known of an encoded stream before it is decoded.

    Attributes:
        codec: FFmpeg's name, such as h264, hevc, av1, vp9, mjpeg.
        reorder_depth: How many pictures may be decoded before one that is shown earlier (B-frames).
        colors: What the stream says of its colours.
        frames: How many there are, as a file says, which may be an estimate; 0 where nobody knows.
        fps: Pictures a second, as far as is known.
    """

    codec: str
    reorder_depth: int = 0
    colors: YuvColors = BT601_LIMITED_RANGE
    frames: int = 0
    fps: float | None = None


@dataclass(frozen=True, slots=True)
class EncodedPacket:
    """One encoded picture, in the format that decoders take (Annex B for H.264 and H.265).

    Attributes:
        data: Its bytes.
        keyframe: Whether decoding can begin here.
        pts_s: When it is shown, in seconds from the stream's begin; None where the stream does not say.
        camera_time_ns: Unix time in nanoseconds at which the camera took it, by its own clock.
    """

    data: bytes
    keyframe: bool
    pts_s: float | None = None
    camera_time_ns: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DecodedPicture:
    """A picture that a decoder lends until the lease is released, by any thread.

    Attributes:
        surface: Where it is.
        size: (width, height) in pixels, both even.
        pixel_format: NV12 or P016.
        lease: Gives the memory back.
    """

    surface: Surface
    size: tuple[int, int]
    pixel_format: PixelFormat
    lease: Lease


class VideoDecoder(Protocol):
    """Decodes one stream into device memory. Used by one thread; leases may be released by others."""

    def decode(self, packet: EncodedPacket) -> Sequence[DecodedPicture]:
        """Feed a packet; return the pictures that are ready, in the order in which they are shown.

        Raises:
            DecoderError: The stream cannot be decoded here; `retry` tells whether a new decoder may.
        """

    def finish(self) -> Sequence[DecodedPicture]:
        """Return what is held back for its order; the stream is at its end."""

    def close(self) -> None:
        """Free everything that is not lent; the rest follows when it is given back. Idempotent."""


class VideoDecoders(Protocol):
    """Makes decoders for one GPU."""

    @property
    def name(self) -> str:
        """What decodes, in words a person understands, such as `nvdec`."""

    def open(self, stream: VideoStream) -> VideoDecoder:
        """Return a decoder for a stream. Called by capture threads.

        Raises:
            DecoderError: There is none for such streams here, or it cannot be had now.
        """


class Source(Protocol):
    """Where the frames of one camera come from.

    `open`, `read` and `close` are called by one thread; a source that hangs is abandoned with its
    thread, so none of them may hold a lock that another source needs.
    """

    @property
    def live(self) -> bool:
        """Whether time goes on without us: of a live source the newest frame wins, of a file each counts."""

    @property
    def decoder(self) -> str:
        """Which way in is used, in words a person understands; known once open."""

    def open(self) -> None:
        """Connect. Raises CaptureError with a reason free of credentials."""

    def read(self, timeout_s: float) -> Picture | None:
        """Return the next picture, or None if none came within `timeout_s` (seconds, best effort).

        Raises:
            EndOfStream: A finite source has no more pictures.
            CaptureError: The connection is lost; the source must be closed and opened again.
        """

    def close(self) -> None:
        """Disconnect. Never raises; idempotent."""


@runtime_checkable
class PixelMemory(Protocol):
    """Where the memory comes from that cameras decode into."""

    def allocate(self, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], bool]:
        """Return a uint8 array of that shape, and whether it is page-locked. Called by capture threads."""


class FrameSink(Protocol):
    """Where capture threads put their frames."""

    def put(self, frame: Frame) -> None:
        """Hand a frame over, and with it the duty to release it.

        Of a live camera it replaces the one still waiting; of a file it waits for room.

        Raises:
            ChannelClosed: Nobody will take it; the frame was released.
        """

    def finish(self, camera_id: str) -> None:
        """Say that this camera will send no more frames."""


class CameraObserver(Protocol):
    """Who wants to know how the cameras do. Called from capture threads; must return at once."""

    def camera_changed(self, status: CameraStatus) -> None:
        """A camera changed its state."""


class Preprocessor(Protocol):
    """Writes a frame into a model's input."""

    @property
    def spec(self) -> InputSpec:
        """What the model's input wants."""

    def write(self, frame: Frame, out: NDArray[np.float32]) -> None:
        """Fill `out`, one image's part of the input tensor: (3, H, W) or (H, W, 3) float32.

        Raises:
            ValueError: If the frame's pixel format or size is not one it can take.
        """


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model; None stands for an axis whose length is known only when it runs."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True, eq=False)
class GridDecode:
    """How a backend may decode an output [B, 4 + classes, anchors] on its own device.

    The rows are cx, cy, w, h in model input pixels, then a confidence for each class. The result must be the
    head's own: the same candidates, in the same order.

    Attributes:
        output: Name of the output.
        thresholds: (classes,) float32; a box must be more confident than its class's threshold. Infinity
            leaves a class out.
        max_candidates: Most candidates of an image.
    """

    output: str
    thresholds: NDArray[np.float32]
    max_candidates: int


class Head(Protocol):
    """Turns the raw outputs of one family of models into candidates."""

    @property
    def name(self) -> str:
        """The name that the configuration uses."""

    @property
    def grid(self) -> GridDecode | None:
        """What a device needs to know to decode in the head's place; None where only the head can."""

    def decode(self, outputs: TensorMap, batch: int) -> Sequence[Candidates]:
        """Return one `Candidates` for each of the first `batch` images; none aliases `outputs`."""


PreprocessorFactory: TypeAlias = Callable[[InputSpec], Preprocessor]
HeadFactory: TypeAlias = Callable[[Sequence[TensorSpec], InputSpec, "tuple[str, ...] | None"], Head]
"""From a model's outputs, its input and its labels (if known) to the head that decodes it."""


class Slot(Protocol):
    """What one batch in flight needs; lent by `Backend.acquire`, given back by `Pending.result`."""


@dataclass(frozen=True, slots=True)
class BatchTimings:
    """How long one batch took, in milliseconds."""

    preprocess_ms: float
    inference_ms: float
    decode_ms: float


@dataclass(frozen=True, slots=True)
class BatchResult:
    """One `Candidates` for each frame of the batch, in its order."""

    candidates: Sequence[Candidates]
    timings: BatchTimings


class Pending(Protocol):
    """A batch in flight; resolved exactly once."""

    def result(self, timeout_s: float) -> AbstractContextManager[BatchResult]:
        """Wait for the batch and lend its result; leaving the context returns slot and leases.

        Raises:
            BackendError: The batch failed, or was not done within `timeout_s` seconds.
        """


class Backend(Protocol):
    """Runs the model. `acquire` and `submit` are called by one thread, `Pending.result` by another."""

    @property
    def model(self) -> ModelInfo:
        """What runs; known once open."""

    @property
    def input_spec(self) -> InputSpec:
        """What its input wants; known once open."""

    @property
    def max_batch(self) -> int:
        """Most frames that one batch can hold; known once open."""

    @property
    def slot_count(self) -> int:
        """Most batches in flight; known once open."""

    @property
    def description(self) -> str:
        """One line for the log: library, device, threads, precision."""

    def open(self) -> None:
        """Load the model and run it once. Raises ModelError or BackendError."""

    def acquire(self, timeout_s: float) -> Slot | None:
        """Return a free slot, or None if none came free within `timeout_s` seconds."""

    def submit(self, slot: Slot, frames: Sequence[Frame]) -> Pending:
        """Enqueue a batch of 1 to `max_batch` frames and take over the duty to release them."""

    def release(self, slot: Slot) -> None:
        """Give back a slot that was acquired and not submitted."""

    def close(self) -> None:
        """Finish what is in flight, then free everything. Idempotent."""


class DetectionsSink(Protocol):
    """Where detections go. Never waits for a broker."""

    def put(self, detections: Detections, *, wait: bool) -> None:
        """Hand detections over. When the lane is full, wait for room, or drop the oldest and count it."""


@dataclass(frozen=True, slots=True)
class SinkState:
    """How a sink does at one moment; counters since the daemon's start.

    Attributes:
        problem: Why messages do not go where they should, in words; None while all is well.
        waiting: Messages that wait, those on disk included.
        written: Detections messages that were handed over.
        dropped: Detections messages that were not, by reason.
    """

    problem: str | None
    waiting: int
    written: int
    dropped: Mapping[DropReason, int]


class Sink(Protocol):
    """Where detections and states go: a broker, a file.

    `set_node_state`, `set_info`, `camera_changed` and `put` are called from many threads, and return at once.
    """

    def start(self) -> None:
        """Begin; returns at once, whether or not the way is open."""

    def stop(self, timeout_s: float) -> bool:
        """Write what waits, for about `timeout_s` seconds at most; return whether every state went out."""

    def set_node_state(self, state: NodeState, reason: str | None = None) -> None:
        """Say what the daemon is doing."""

    def set_info(self, info: NodeInfo) -> None:
        """Say what runs here; comes before the first `put`."""

    def camera_changed(self, status: CameraStatus) -> None:
        """Say how a camera does."""

    def put(self, detections: Detections, *, wait: bool) -> None:
        """Take detections; see `DetectionsSink`."""

    def state(self) -> SinkState:
        """Return how this sink does."""


class DropObserver(Protocol):
    """Who counts drops. Called from any thread; must return at once."""

    def dropped(self, camera_id: str, reason: DropReason, count: int = 1) -> None:
        """`count` frames or messages of a camera went no further."""
