"""The daemon's street, from decoded frames to encoded messages, beside the bare engine.

    edge-app bench street --config edge.yaml --cameras 8 --seconds 5 --rounds 5

Frames lie in memory as capture would hand them over; messages are encoded and thrown away. Everything between
is what `edge-app run` runs.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_app.app.detector import Detector
from edge_app.bench.memory_camera import KeptMemory, MemorySource
from edge_app.bench.threads import cpu_s_by_thread, used_between
from edge_app.capture.attempt import Camera
from edge_app.capture.cameras import CameraGroup
from edge_app.capture.factory import create_camera
from edge_app.capture.pool import OrdinaryMemory
from edge_app.config.models import CameraSection
from edge_app.errors import CaptureError, ConfigError
from edge_app.interfaces import PixelMemory, VideoDecoders
from edge_app.messages import CameraState, CameraStatus, Detections, ModelInfo
from edge_app.pipeline.lanes import FrameLanes
from edge_app.pipeline.statistics import Statistics
from edge_app.pipeline.street import Model, Street
from edge_app.publish.payloads import detections_payload, encode
from edge_app.publish.stamper import Stamper
from edge_app.scene import StreetScene

WARM_UP_S = 1.0
FIRST_FRAMES_S = 30.0
"""Longest wait for a frame of every camera."""
MOST_SOURCE_FPS = 1000.0
"""As `max_fps` of a camera; frames in memory may come faster."""
MEMORY, SCENE = "memory", "scene"
STAGES = ("waiting", "preprocess", "inference", "postprocess")


@dataclass(frozen=True, slots=True)
class Load:
    """What is offered.

    Attributes:
        cameras: How many.
        fps: Of each, live; None: as many as are taken, none is dropped.
        size: Of the frames, in pixels.
        seconds: How long is measured.
        source: `memory`: frames that are decoded already. `scene`: rendered while it runs. Anything else: the
            URI of a camera or file, which every camera reads.
        decoder: What decodes it; see `cameras.X.decoder`.

    Raises:
        ConfigError: That cannot be offered.
    """

    cameras: int = 8
    fps: float | None = None
    size: tuple[int, int] = (1920, 1080)
    seconds: float = 5.0
    source: str = MEMORY
    decoder: Literal["auto", "nvdec", "gstreamer", "cpu"] = "auto"

    def __post_init__(self) -> None:
        """Refuse what cannot be offered."""
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ConfigError(f"the frames a second must be a number above 0, found {self.fps:g}")
        if not 0 < self.seconds < math.inf:
            raise ConfigError(f"the seconds of a round must be a number above 0, found {self.seconds:g}")
        if not self.source:
            raise ConfigError("the source is empty", hint=f"Name a camera or file, {SCENE} or {MEMORY}.")
        if self.source != MEMORY and (self.fps or 0) > MOST_SOURCE_FPS:
            most = f"at most {MOST_SOURCE_FPS:g} frames a second come from a source"
            raise ConfigError(f"{most}, found {self.fps:g}", hint="Frames in memory may come faster.")


@dataclass(frozen=True, slots=True)
class StreetSpeed:
    """What came of one run.

    Attributes:
        frames_per_s: Frames whose message was encoded, a second.
        latency_ms: p50, p95 and p99 from captured to encoded.
        from_lane_ms: The same from the lane's exit to encoded.
        stages_ms: The same for each stage.
        captured: Frames handed over.
        dropped: By reason; `no_buffer` are those that were due while all of a camera's buffers were lent.
        spread: (fastest - slowest camera) / mean, by frames.
        cpu: Of the whole process, in cores.
        python_us: CPU time of a frame, in microseconds.
        threads_us: The same by thread.
    """

    frames_per_s: float
    latency_ms: tuple[float, ...]
    from_lane_ms: tuple[float, ...]
    stages_ms: Mapping[str, tuple[float, ...]]
    captured: int
    dropped: Mapping[str, int]
    spread: float
    cpu: float
    python_us: float
    threads_us: Mapping[str, float]
    objects: float = 0.0


@dataclass(slots=True)
class _NullSink:
    """Encodes every message, notes when, and throws it away."""

    model: ModelInfo
    stamper: Stamper = field(default_factory=lambda: Stamper("bench", "0" * 32))
    rows: list[tuple[float, ...]] = field(default_factory=list)
    cameras: Counter[str] = field(default_factory=Counter)
    recording: bool = False

    def put(self, detections: Detections, *, wait: bool) -> None:  # noqa: ARG002 - there is always room
        """Encode one message."""
        encode(detections_payload(self.stamper.next(""), detections, self.model, 0))
        if self.recording:
            timings, total_ms = detections.timings, (time.monotonic_ns() - detections.info.captured_ns) / 1e6
            stages = (timings.waiting_ms, timings.preprocess_ms, timings.inference_ms, timings.postprocess_ms)
            self.rows.append((total_ms, total_ms - timings.waiting_ms, *stages, len(detections)))
            self.cameras[detections.info.camera_id] += 1


@dataclass(slots=True)
class _Gone:
    """Notes which camera brings no frames, and why."""

    words: str | None = None

    def camera_changed(self, status: CameraStatus) -> None:
        """Note the first that is lost or has ended."""
        if self.words is None and status.state in {CameraState.LOST, CameraState.ENDED}:
            self.words = f"{status.camera_id} is {status.state.value}: {status.reason or 'there is no more'}"


def measure_street(
    detector: Detector,
    load: Load,
    *,
    batch_wait_s: float = 0.004,
    max_age_s: float = 0.5,
    memory: KeptMemory | None = None,
    decoders: VideoDecoders | None = None,
) -> StreetSpeed:
    """Run the street under a load and measure it.

    Args:
        detector: The model, open.
        load: What is offered.
        batch_wait_s: See `inference.batch_wait_ms`.
        max_age_s: See `inference.max_age_ms`.
        memory: What frames in memory lie in, used again by the next run; None: new memory.
        decoders: Decode a source into the model's GPU; None: there are none.

    Raises:
        ConfigError, CaptureError: The source cannot be read, or no frame of it was processed.
        StageFailedError: A stage failed.
    """
    names = [f"camera{number}" for number in range(load.cameras)]
    statistics = Statistics(names)
    memory = KeptMemory(detector.memory or OrdinaryMemory()) if memory is None else memory
    cameras, sources = _cameras(names, load, memory, decoders)
    live = {camera.camera_id: camera.live for camera in cameras}
    lanes = FrameLanes(live, max_age_s=max_age_s, counts=statistics)
    sink, gone = _NullSink(detector.backend.model), _Gone()
    street = Street(
        cameras=CameraGroup(cameras, lanes, gone),
        live=frozenset(name for name, is_live in live.items() if is_live),
        models=[Model(lanes, detector.backend, detector.detect, batch_wait_s)],
        sink=sink,
        statistics=statistics,
    )
    stop = threading.Event()
    with ThreadPoolExecutor(1, "street-walk") as pool:
        walk = pool.submit(street.run, stop)
        try:
            _wait_for_frames(walk, statistics, gone)
            found = _measured(walk, sink, statistics, sources, load.seconds)
        finally:
            stop.set()
    walk.result()
    memory.take_back()
    return found


def _wait_for_frames(walk: Future[None], statistics: Statistics, gone: _Gone) -> None:
    """Wait until the street is warm: the first frame of each camera, and a while longer."""
    deadline_s, done = time.monotonic() + FIRST_FRAMES_S, 0
    while done < len(counts := statistics.counts()) and time.monotonic() < deadline_s:
        done = sum(count.processed > 0 for count in counts.values())
        if walk.done() or (gone.words is not None and not done):
            break
        time.sleep(0.01)
    if done:
        wait([walk], WARM_UP_S)
    if walk.done():
        walk.result()
        raise CaptureError("the source has ended before a round began", hint="It must go on for longer.")
    if not done:
        why = gone.words or f"no frame was processed within {FIRST_FRAMES_S:g} s"
        raise CaptureError(f"there is nothing to measure: {why}")


def _measured(
    walk: Future[None],
    sink: _NullSink,
    statistics: Statistics,
    sources: Sequence[MemorySource],
    seconds: float,
) -> StreetSpeed:
    before, missed = _totals(statistics), sum(source.missed for source in sources)
    used_s, threads, started = time.process_time(), cpu_s_by_thread(), time.perf_counter()
    sink.recording = True
    wait([walk], seconds)
    sink.recording = False
    elapsed_s, cpu_s = time.perf_counter() - started, time.process_time() - used_s
    by_thread = used_between(threads, cpu_s_by_thread())
    after = _totals(statistics)
    after["no_buffer"] = sum(source.missed for source in sources) - missed
    return _speed(sink, after - before, elapsed_s, cpu_s, by_thread)


def _cameras(
    names: Sequence[str], load: Load, memory: KeptMemory, decoders: VideoDecoders | None
) -> tuple[list[Camera], list[MemorySource]]:
    if load.source == MEMORY:
        sources = _sources(load, memory)
        live = load.fps is not None
        return [
            Camera(name, create_source=partial(_same, source), live=live)
            for name, source in zip(names, sources, strict=True)
        ], sources
    return [
        create_camera(name, _section(load, number), None, memory, decoders)
        for number, name in enumerate(names)
    ], []


def _section(load: Load, number: int) -> CameraSection:
    width, height = load.size
    paced = load.fps is not None
    uri = load.source
    if uri == SCENE:
        uri = f"scene://street?seed={number + 1}&size={width}x{height}&fps={load.fps or 30:g}"
    return CameraSection(uri=uri, realtime=paced, loop=True, max_fps=load.fps, decoder=load.decoder)


def _sources(load: Load, memory: PixelMemory) -> list[MemorySource]:
    pictures = street_pictures(load.size)
    gap_s = 0.0 if load.fps is None else 1 / load.fps / load.cameras
    return [
        MemorySource(pictures[number % 4 :] + pictures[: number % 4], memory, load.fps, number * gap_s)
        for number in range(load.cameras)
    ]


@lru_cache(maxsize=2)
def street_pictures(size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Return four rendered streets of that size, which cameras in memory show in turns."""
    width, height = size
    return [StreetScene(seed=seed, width=width, height=height, fps=30).render(40) for seed in range(4)]


def _speed(
    sink: _NullSink, counts: Counter[str], elapsed_s: float, cpu_s: float, by_thread: Mapping[str, float]
) -> StreetSpeed:
    rows = np.array(sink.rows, np.float64).reshape(-1, 2 + len(STAGES) + 1)
    frames = len(rows)
    per_camera = np.array(list(sink.cameras.values()) or [0])
    return StreetSpeed(
        frames_per_s=frames / elapsed_s,
        latency_ms=_percentiles(rows[:, 0]),
        from_lane_ms=_percentiles(rows[:, 1]),
        stages_ms={name: _percentiles(rows[:, 2 + number]) for number, name in enumerate(STAGES)},
        captured=counts.pop("captured", 0),
        dropped=dict(+counts),
        spread=float(np.ptp(per_camera) / max(1.0, per_camera.mean())),
        cpu=cpu_s / elapsed_s,
        python_us=cpu_s / max(1, frames) * 1e6,
        threads_us={name: round(used / max(1, frames) * 1e6, 2) for name, used in by_thread.items()},
        objects=float(rows[:, -1].mean()) if frames else 0.0,
    )


def _percentiles(column: NDArray[np.float64]) -> tuple[float, ...]:
    if not len(column):
        return ()
    return tuple(round(float(value), 4) for value in np.percentile(column, (50, 95, 99)))


def _totals(statistics: Statistics) -> Counter[str]:
    total: Counter[str] = Counter()
    for counts in statistics.counts().values():
        total["captured"] += counts.captured
        for reason, count in counts.dropped.items():
            total[reason.value] += count
    return total


def _same(source: MemorySource) -> MemorySource:
    return source


def median_of(runs: Sequence[StreetSpeed]) -> StreetSpeed:
    """Return the run with the median throughput."""
    return sorted(runs, key=lambda run: run.frames_per_s)[len(runs) // 2]


def as_json(run: StreetSpeed) -> dict[str, Any]:
    """Return a run as plain values."""
    return asdict(run)
