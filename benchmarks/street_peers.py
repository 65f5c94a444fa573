"""edge_app's street beside two other ways to the same detections: the tutorials' loop, and trtutils.

    python -m benchmarks.street_peers --config edge.yaml --prepare yolo11n.onnx nms.onnx
    python -m benchmarks.street_peers --build nms.onnx nms.engine --level 3
    python -m benchmarks.street_peers --config edge.yaml --trtutils-engine nms.engine --json peers.json

Every side takes the same decoded 1080p BGR frames from ordinary memory and gives detections back. Each has a
process of its own, and the rounds take turns. edge_app's frames come from several cameras and overlap; the
others take one after the other, as they are made. The tutorials' loop runs edge_app's own engine, which must
be in the store (`edge-app build`). trtutils wants an engine that suppresses by itself: `--prepare` appends
that to the model, `--build` builds it.

Classes, confidence and overlap are the configuration's, for all. Random weights saturate: name few classes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.trtutils_export import build_engine, prepare_export
from edge_app.app.detector import open_detector
from edge_app.app.model import describe
from edge_app.bench.measure import environment
from edge_app.bench.memory_camera import BUFFERS
from edge_app.bench.street import Load, measure_street, street_pictures
from edge_app.bench.turns import Child, answer_requests
from edge_app.config.loader import load_config
from edge_app.config.models import AppConfig
from edge_app.errors import EdgeAppError
from edge_app.files.writable import require_writable
from edge_app.postprocess.thresholds import class_thresholds

OURS, TUTORIAL, TRTUTILS = "edge_app", "tutorial", "trtutils"
PINNED = "edge_app, pinned frames"
OPEN_TIMEOUT_S = 60.0
WARM_UP_S = 0.5
PADDING = 114
FEW_CLASSES = 4

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Found = tuple[Floats, Floats, NDArray[np.int64]]
"""Boxes as x1, y1, x2, y2 in image pixels, confidences, and classes."""


@dataclass(frozen=True)
class Speed:
    """What one side did in one round."""

    frames_per_s: float
    boxes: float
    """A frame, on average."""
    cpu: float
    """Of its process, in cores."""
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    """Median of each stage, where the side can tell."""


class Side(Protocol):
    """What one child process runs."""

    def about(self) -> Mapping[str, str]:
        """Return what its figures depend on."""

    def measure(self, way: str, seconds: float) -> Speed:
        """Measure one round."""

    def close(self) -> None:
        """Free everything."""


class StreetSide:
    """edge_app: what `edge-app bench street` runs, with frames in ordinary memory, or in its own."""

    def __init__(self, config: AppConfig, cameras: int) -> None:
        self._config, self._cameras = config, cameras
        self._detector = open_detector(config)

    def about(self) -> Mapping[str, str]:
        """Return model and engine."""
        backend = self._detector.backend
        return {"model": backend.model.name, "engine": backend.description, "cameras": str(self._cameras)}

    def measure(self, way: str, seconds: float) -> Speed:
        """Run the street as fast as it takes frames."""
        inference = self._config.inference
        found = measure_street(
            self._detector if way == PINNED else replace(self._detector, memory=None),
            Load(cameras=self._cameras, fps=None, seconds=seconds),
            batch_wait_s=inference.batch_wait_ms / 1e3,
            max_age_s=inference.max_age_ms / 1e3,
        )
        stages = {name: values[0] for name, values in found.stages_ms.items() if values}
        return Speed(found.frames_per_s, found.objects, found.cpu, stages)

    def close(self) -> None:
        """Close the backend."""
        self._detector.backend.close()


class TutorialSide:
    """The loop of the tutorials: OpenCV and numpy around `execute_v2`, one frame after the other."""

    def __init__(self, config: AppConfig, cameras: int) -> None:
        from edge_app.app.engines import Engines

        engines = Engines(config, describe(config))
        section = config.postprocess
        self._thresholds = class_thresholds(section, engines.description.labels or ())
        self._iou, self._most = section.iou_threshold, section.max_detections
        self._images = make_images(cameras)
        self._stages: list[tuple[float, ...]] = []
        self._cuda: Any
        self._trt: Any
        self._load(engines.store.read(engines.require()))

    def about(self) -> Mapping[str, str]:
        """Return the versions."""
        return {"tensorrt": self._trt.__version__, "pycuda": version("pycuda"), "opencv": cv2.__version__}

    def measure(self, way: str, seconds: float) -> Speed:  # noqa: ARG002 - there is one way
        """Run the loop."""
        speed = time_loop(self._detect, self._images, seconds, self._stages.clear)
        middle = np.median(self._stages, axis=0)
        names = ("preprocess", "copies and inference", "postprocess")
        return replace(speed, stages_ms=dict(zip(names, map(float, middle), strict=True)))

    def close(self) -> None:
        """Free the context before what it uses."""
        del self._context, self._engine, self._runtime
        del self._device_input, self._device_output, self._output

    def _load(self, plan: bytes) -> None:
        import_module("pycuda.autoinit")
        self._cuda, self._trt = import_module("pycuda.driver"), import_module("tensorrt")
        logger = self._trt.Logger(self._trt.Logger.WARNING)
        self._trt.init_libnvinfer_plugins(logger, "")
        self._runtime = self._trt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        self._context = self._engine.create_execution_context()
        (name, output) = (self._engine.get_tensor_name(number) for number in range(2))
        shape = (1, *tuple(self._engine.get_tensor_shape(name))[1:])
        self._context.set_input_shape(name, shape)
        self._size = shape[2]
        self._output = self._cuda.pagelocked_empty(tuple(self._context.get_tensor_shape(output)), np.float32)
        self._device_input = self._cuda.mem_alloc(int(np.prod(shape)) * self._output.itemsize)
        self._device_output = self._cuda.mem_alloc(self._output.nbytes)
        self._bindings = [int(self._device_input), int(self._device_output)]

    def _detect(self, image: Image) -> int:
        started = time.perf_counter()
        tensor, scale, offset = letterbox(image, self._size)
        prepared = time.perf_counter()
        self._cuda.memcpy_htod(self._device_input, tensor)
        if not self._context.execute_v2(self._bindings):
            raise EdgeAppError("TensorRT failed to run the engine")
        self._cuda.memcpy_dtoh(self._output, self._device_output)
        inferred = time.perf_counter()
        boxes = to_image(decode(self._output[0], self._thresholds, self._iou, self._most), scale, offset)[0]
        ended = time.perf_counter()
        times = (started, prepared, inferred, ended)
        self._stages.append(tuple((b - a) * 1e3 for a, b in pairwise(times)))
        return len(boxes)


class TrtutilsSide:
    """trtutils: its YOLO class with its CUDA preprocessing, by `end2end`."""

    def __init__(self, config: AppConfig, cameras: int, engine: Path | None) -> None:
        yolo = import_module("trtutils.impls.yolo").YOLO
        if engine is None or not engine.is_file():
            raise EdgeAppError(f"its engine is missing: {engine or 'no --trtutils-engine'}")
        _let_single_elements_be_copied()
        confidence = config.postprocess.confidence_threshold
        # Its own warm-up shows the preprocessor another size, and has it allocate everything twice.
        self._yolo: Any = yolo(engine, preprocessor="cuda", conf_thres=confidence, warmup=False)
        self._images = make_images(cameras)

    def about(self) -> Mapping[str, str]:
        """Return the versions."""
        return {
            "trtutils": version("trtutils"),
            "tensorrt": import_module("tensorrt").__version__,
            "preprocessor": type(self._yolo._preprocessor).__name__,
        }

    def measure(self, way: str, seconds: float) -> Speed:  # noqa: ARG002 - there is one way
        """Run its loop."""
        return time_loop(lambda image: len(self._yolo.end2end(image)), self._images, seconds)

    def close(self) -> None:
        """Let it free its memory."""
        self._yolo = None


def _let_single_elements_be_copied() -> None:
    """Hand trtutils' copies an address: cuda-bindings takes arrays of one element, as `num_dets`, for one."""
    memory = import_module("trtutils.core._memory")
    runtime = memory.cudart

    def copy(host_arr: NDArray[Any], device_ptr: int, stream: Any) -> None:
        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        memory.cuda_call(
            runtime.cudaMemcpyAsync(host_arr.ctypes.data, device_ptr, host_arr.nbytes, kind, stream)
        )

    import_module("trtutils._engine").memcpy_device_to_host_async = copy


def make_images(cameras: int) -> list[Image]:
    """Return the frames that the street's cameras show, in as many buffers as theirs."""
    pictures = street_pictures(Load().size)
    return [pictures[number % len(pictures)].copy() for number in range(cameras * BUFFERS)]


def time_loop(
    detect: Callable[[Image], int],
    images: Sequence[Image],
    seconds: float,
    begin: Callable[[], object] = lambda: None,
) -> Speed:
    """Show images in turns, each when the one before is done; `begin` is called after the warm-up."""
    warm_until = time.perf_counter() + WARM_UP_S
    while time.perf_counter() < warm_until:
        detect(images[0])
    begin()
    frames = boxes = 0
    used_s, started = time.process_time(), time.perf_counter()
    while (elapsed_s := time.perf_counter() - started) < seconds:
        boxes += detect(images[frames % len(images)])
        frames += 1
    return Speed(frames / elapsed_s, boxes / frames, (time.process_time() - used_s) / elapsed_s)


def letterbox(image: Image, size: int) -> tuple[Floats, float, tuple[int, int]]:
    """Return the (1, 3, size, size) float32 RGB input, and the scale and offset that the image has in it."""
    height, width = image.shape[:2]
    scale = min(size / width, size / height)
    resized = cv2.resize(image, (round(width * scale), round(height * scale)))
    top, left = (size - resized.shape[0]) // 2, (size - resized.shape[1]) // 2
    bottom, right = size - resized.shape[0] - top, size - resized.shape[1] - left
    border = cv2.BORDER_CONSTANT
    padded = cv2.copyMakeBorder(resized, top, bottom, left, right, border, value=(PADDING,) * 3)
    rgb = cv2.cvtColor(padded, cv2.COLOR_BGR2RGB).astype(np.float32) / 255.0
    return np.ascontiguousarray(np.transpose(rgb, (2, 0, 1))[None]), scale, (left, top)


def decode(output: Floats, thresholds: Floats, iou: float, most: int) -> Found:
    """Return what a (4 + classes, anchors) output holds, in model pixels: numpy, then `cv2.dnn.NMSBoxes`.

    A box has its most confident class. Suppression is across classes, as `NMSBoxes` does it.
    """
    scores = output[4:]
    anchors = np.flatnonzero(_is_candidate(scores, thresholds))
    scores = scores[:, anchors]
    class_id = scores.argmax(axis=0)
    confidence = scores[class_id, np.arange(len(anchors))]
    wanted = confidence > thresholds[class_id]
    anchors, confidence, class_id = anchors[wanted], confidence[wanted], class_id[wanted]
    x, y, width, height = output[:4, anchors]
    xywh = np.stack((x - width / 2, y - height / 2, width, height), axis=1)
    kept: Any = cv2.dnn.NMSBoxes(xywh.tolist(), confidence.tolist(), 0.0, iou) if len(anchors) else ()
    best = np.asarray(kept, np.int64).ravel()[:most]
    xyxy = xywh[best]
    xyxy[:, 2:] += xyxy[:, :2]
    return xyxy, confidence[best], class_id[best]


def _is_candidate(scores: Floats, thresholds: Floats) -> NDArray[np.bool_]:
    """Return which anchors to look at.

    Where few classes are wanted, those whose best class is another are left out at once: of a saturated
    output nearly all would remain to be gathered, which no trained model has.
    """
    rows = np.flatnonzero(np.isfinite(thresholds))
    if len(rows) > FEW_CLASSES:
        return np.asarray(scores.max(axis=0) > thresholds.min())
    found = np.zeros(scores.shape[1], np.bool_)
    for row in rows:
        own, before, after = scores[row], scores[:row], scores[row + 1 :]
        best = (own > before.max(axis=0, initial=-np.inf)) & (own >= after.max(axis=0, initial=-np.inf))
        found |= best & (own > thresholds[row])
    return found


def to_image(found: Found, scale: float, offset: tuple[int, int]) -> Found:
    """Return what was found, in image pixels."""
    xyxy, confidence, class_id = found
    return (xyxy - np.array([*offset, *offset], np.float32)) / np.float32(scale), confidence, class_id


def serve(make: Callable[[], Side]) -> None:
    """Open a side at the first request, and answer the parent until it closes the pipe."""
    opened: list[Side] = []

    def answer(request: Mapping[str, Any]) -> dict[str, Any]:
        side = opened[0] if opened else make()
        opened[:] = [side]
        if request["do"] == "open":
            return dict(side.about())
        return asdict(side.measure(request["way"], request["seconds"]))

    answer_requests(answer)
    for side in opened:
        side.close()


@dataclass
class Contest:
    """The sides that run, and what came of them."""

    children: dict[str, Child] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    rounds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)

    def open(self, name: str, command: Sequence[str], ways: Sequence[str]) -> None:
        """Start a side; one that cannot run is noted."""
        child = Child(name, command)
        try:
            self.about[name] = child.ask(OPEN_TIMEOUT_S, do="open")
        except EdgeAppError as error:
            child.close()
            self.not_run.update(dict.fromkeys(ways, _reason(error)))
            return
        self.children.update(dict.fromkeys(ways, child))
        self.rounds.update({way: [] for way in ways})

    def run(self, rounds: int, seconds: float) -> None:
        """Let every way have its turn in each round; one that fails is noted, and left out from then on."""
        for _ in range(rounds):
            for way in self.children:
                if way in self.not_run:
                    continue
                try:
                    answer = self.children[way].ask(
                        30.0 + 3 * seconds, do="measure", way=way, seconds=seconds
                    )
                except EdgeAppError as error:
                    self._leave_out(self.children[way], _reason(error))
                else:
                    self.rounds[way].append(answer)

    def _leave_out(self, failed: Child, why: str) -> None:
        for way in [way for way, child in self.children.items() if child is failed]:
            self.not_run[way] = why
            del self.rounds[way]

    def close(self) -> None:
        """End the children."""
        for child in {id(child): child for child in self.children.values()}.values():
            child.close()

    def result(self) -> dict[str, Any]:
        """Return medians, and how many times as fast as each of the others edge_app is."""
        medians = {way: _median(rounds) for way, rounds in self.rounds.items()}
        ours = [found["frames_per_s"] for found in self.rounds.get(OURS, ())]
        ratios = {}
        for way, rounds in self.rounds.items():
            if way not in {OURS, PINNED} and ours:
                each = [a / b["frames_per_s"] for a, b in zip(ours, rounds, strict=True)]
                ratios[way] = {"median": statistics.median(each), "rounds": each}
        return {
            "median": medians,
            "edge_app_to_peer": ratios,
            "not_run": self.not_run,
            "rounds": self.rounds,
            "about": self.about,
            "environment": environment(),
        }


def _median(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the round of median speed."""
    return dict(sorted(rounds, key=lambda found: found["frames_per_s"])[len(rounds) // 2])


def _reason(error: EdgeAppError) -> str:
    """Return what went wrong, without the request that it answered."""
    return str(error).partition("}: ")[2] or str(error)


def lines(result: Mapping[str, Any]) -> list[str]:
    """Return the result for people."""
    told = []
    for way, middle in result["median"].items():
        ratio = result["edge_app_to_peer"].get(way)
        speeds = " ".join(f"{found['frames_per_s']:.0f}" for found in result["rounds"][way])
        told.append(
            f"{way}: {middle['frames_per_s']:.0f} frames/s ({speeds}), {middle['boxes']:.1f} boxes a frame, "
            f"{middle['cpu']:.2f} cores"
            + (f"; edge_app has {ratio['median']:.2f} times that" if ratio else "")
        )
        if middle["stages_ms"]:
            stages = ", ".join(f"{name} {ms:.2f}" for name, ms in middle["stages_ms"].items())
            told.append(f"  median ms: {stages}")
    told += [f"{way}: not run: {why}" for way, why in result["not_run"].items()]
    return told


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Open all sides, and let them take turns."""
    contest = Contest()
    command = [sys.executable, "-m", "benchmarks.street_peers", "--cameras", str(options.cameras)]
    for flag, value in (("--config", options.config), ("--trtutils-engine", options.trtutils_engine)):
        command += [flag, str(value)] if value is not None else []
    try:
        for name in (OURS, TUTORIAL, TRTUTILS):
            ways = (OURS, PINNED) if name == OURS and options.pinned else (name,)
            contest.open(name, [*command, "--serve", name], ways)
        contest.run(options.rounds, options.seconds)
    finally:
        contest.close()
    return contest.result()


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    summary, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=summary)
    add = parser.add_argument
    add("--config", type=Path, help="edge_app's configuration; its engine is found in the store")
    add("--trtutils-engine", type=Path, help="what --build wrote")
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=2.0, help="of each turn")
    add("--cameras", type=int, default=4, help="of edge_app's street")
    add("--pinned", action="store_true", help="also measure edge_app with frames where its cameras decode")
    add("--json", type=Path, help="where the result is written")
    add("--prepare", type=Path, nargs=2, metavar=("ONNX", "OUT"), help="write the export for trtutils")
    add("--build", type=Path, nargs=2, metavar=("ONNX", "ENGINE"), help="build it")
    add("--timing-cache", type=Path, help="read by --build, such as the one in edge_app's store")
    add("--level", type=int, default=3, help="optimization level of --build")
    add("--serve", choices=(OURS, TUTORIAL, TRTUTILS), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    options = read_options(arguments)
    config = AppConfig() if options.config is None else load_config(options.config).config
    sides: dict[str, Callable[[], Side]] = {
        OURS: lambda: StreetSide(config, options.cameras),
        TUTORIAL: lambda: TutorialSide(config, options.cameras),
        TRTUTILS: lambda: TrtutilsSide(config, options.cameras, options.trtutils_engine),
    }
    if options.serve is not None:
        serve(sides[options.serve])
    elif options.prepare is not None:
        require_writable(options.prepare[1], "--prepare")
        prepare_export(config, *options.prepare)
    elif options.build is not None:
        source, target = options.build
        require_writable(target, "--build")
        build_engine(source, target, options.timing_cache, options.level)
    else:
        if options.json is not None:
            require_writable(options.json, "--json")
        result = compare(options)
        sys.stdout.write("\n".join(lines(result)) + "\n")
        if options.json is not None:
            options.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    try:
        main()
    except EdgeAppError as error:
        sys.exit(f"street_peers: {error}")
