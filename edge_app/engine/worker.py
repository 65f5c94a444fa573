"""The child process that builds: `python -m edge_app.engine.worker SPEC.json`.

It speaks JSON lines (`events.BuildEvent`) on standard output. Whatever else writes there, such as a native
library, is sent to standard error, whose last lines the parent quotes when this process dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from edge_app.engine.build_spec import BuildSpec
from edge_app.engine.compat import Builder
from edge_app.engine.durable import move_durably, temporary_name, write_atomically
from edge_app.engine.errors import BuildError
from edge_app.engine.events import BuildEvent, EventKind, EventSink, FailureKind
from edge_app.engine.options import Precision
from edge_app.engine.parser_errors import collect_faults
from edge_app.engine.precision.constraints import constrain_layers
from edge_app.engine.precision.prepare import PreparedGraph, prepare
from edge_app.engine.progress import Reporter, native_logger
from edge_app.errors import EdgeAppError

PR_SET_PDEATHSIG = 1
FIRST_VICTIM = 900
"""oom_score_adj: when memory runs out the kernel shall end the build and not the cameras."""
LAST_ERRORS = 5


def run_build(
    spec: BuildSpec, trt: Any, reporter: Reporter, tune: Callable[[Any], None] | None = None
) -> None:
    """Build one engine and write its plan.

    Args:
        spec: What to build.
        trt: The module `tensorrt`.
        reporter: Who is told.
        tune: Called with the builder configuration before the build.

    Raises:
        BuildError: It failed, with the cause in words.
    """
    started = time.monotonic()
    model = _quantized(spec, reporter)
    api = Builder(trt, native_logger(trt, reporter))
    reporter.phase("applying the precision policy", 2)
    graph = prepare(model, spec.precision, strongly_typed=api.strongly_typed)
    for note in graph.notes:
        reporter.note(note)
    trt.init_libnvinfer_plugins(api.logger, "")
    builder = trt.Builder(api.logger)
    network = api.create_network(builder)
    reporter.phase("reading the model", 5)
    # The network refers to the parser's memory until it is built.
    parser = _parse(api, network, model, graph)
    config = api.configure(builder, spec.precision, spec.options, spec.workspace_bytes)
    api.add_profile(builder, config, network, spec.profile)
    if graph.keep and spec.precision is not Precision.FP32:
        count = constrain_layers(trt, network, graph.keep, {node.name for node in graph.nodes})
        reporter.note(f"{count} of {network.num_layers} layers are bound to FP32")
    if tune is not None:
        tune(config)
    cache = api.use_timing_cache(config, _read(spec.timing_cache)) if spec.timing_cache else None
    api.monitor(config, reporter.step)
    reporter.phase("building the engine", 10)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _build_failure(reporter)
    Path(spec.plan).write_bytes(memoryview(plan))
    if spec.timing_cache and cache is not None:
        _keep_timings(Path(spec.timing_cache), cache, reporter)
    del parser
    data = {"plan_bytes": plan.nbytes, "build_s": round(time.monotonic() - started, 3)}
    reporter.done(EventKind.RESULT, "the engine is built", data)


def _quantized(spec: BuildSpec, reporter: Reporter) -> Path:
    """Return the model to build, quantised first if that is still to be done."""
    if spec.calibration is None or spec.quantized is None:
        return Path(spec.model)
    import numpy as np

    from edge_app.engine.precision.quantize import quantize

    tensors = np.load(spec.calibration, mmap_mode="r", allow_pickle=False)
    reporter.phase(f"calibrating with {len(tensors)} frames", 0)
    target = Path(spec.quantized)
    unfinished = temporary_name(target)
    excluded = quantize(Path(spec.model), tensors, spec.calibration_method, unfinished)
    move_durably(unfinished, target)
    reporter.note(f"not quantised, as the head depends on them: {', '.join(excluded)}")
    return target


def _parse(api: Builder, network: Any, model: Path, graph: PreparedGraph) -> Any:
    parser = api.trt.OnnxParser(network, api.logger)
    parsed = (
        parser.parse_from_file(str(model))
        if graph.content is None
        # The path tells the parser where external data lies.
        else parser.parse(graph.content, str(model))
    )
    if not parsed:
        faults = collect_faults(parser, graph.nodes)
        raise BuildError(
            f"TensorRT {api.trt.__version__} cannot read the model: {len(faults)} errors",
            kind=FailureKind.PARSE.value,
            details=[str(fault) for fault in faults],
        )
    return parser


def _build_failure(reporter: Reporter) -> BuildError:
    kind = FailureKind.OUT_OF_MEMORY if reporter.out_of_memory else FailureKind.BUILD
    message = "the GPU's memory ran out" if reporter.out_of_memory else "TensorRT could not build the engine"
    details = reporter.errors[-LAST_ERRORS:] or ["TensorRT gave no reason"]
    return BuildError(message, kind=kind.value, details=details)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return b""


def _keep_timings(path: Path, cache: Any, reporter: Reporter) -> None:
    """Write the timing cache; the engine is built already and does not fail for it."""
    try:
        write_atomically(path, bytes(memoryview(cache.serialize())))
    except OSError as error:
        reporter.note(f"the timings for the next build cannot be kept: {error.strerror}")


def serve(arguments: list[str], load: Callable[[], Any], tune: Callable[[Any], None] | None = None) -> int:
    """Build what the specification in `arguments[0]` says, and report; return the exit status.

    Args:
        arguments: The path of the specification.
        load: Returns the module `tensorrt`.
        tune: See `run_build`.
    """
    spec = BuildSpec.read(Path(arguments[0]))
    die_with(spec.parent_pid)
    _be_first_victim()
    reporter = Reporter(_line_writer(_claim_stdout()))
    try:
        run_build(spec, load(), reporter, tune)
    except BuildError as error:
        _fail(reporter, error, error.kind, error.details)
    except EdgeAppError as error:
        _fail(reporter, error, FailureKind.BUILD.value, ())
    except OSError as error:
        _fail(
            reporter,
            BuildError(f"{error.filename or spec.plan}: {error.strerror}"),
            FailureKind.BUILD.value,
            (),
        )
    except MemoryError:
        _fail(reporter, BuildError("the system's memory ran out"), FailureKind.OUT_OF_MEMORY.value, ())
    else:
        return 0
    return 1


def _fail(reporter: Reporter, error: EdgeAppError, kind: str, details: tuple[str, ...]) -> None:
    message = error.message.split("\n", 1)[0]
    data = {"kind": kind, "hint": error.hint, "details": list(details)}
    reporter.done(EventKind.FAILED, message, data)


def die_with(parent_pid: int | None) -> None:
    """Let the kernel end this process when the thread of the parent that started it ends."""
    if parent_pid is None:
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit("the parent process is gone")


def _be_first_victim() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(FIRST_VICTIM))


def _claim_stdout() -> TextIO:
    """Keep the pipe to the parent for events, and send all other standard output to standard error."""
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return events


def _line_writer(stream: TextIO) -> EventSink:
    lock = threading.Lock()

    def write(event: BuildEvent) -> None:
        with lock:
            stream.write(event.to_line() + "\n")
            stream.flush()

    return write


def _load_tensorrt() -> Any:
    from edge_app.gpu.describe import describe_device
    from edge_app.gpu.tensorrt_api import load_tensorrt

    # Without a GPU that works, TensorRT 8.6 crashes where this says what is wrong.
    describe_device()
    return load_tensorrt()


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], _load_tensorrt))
