"""What `edge-app bench` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
from rich.console import Console

from edge_app.bench import letterbox, metrics, model, nms, nms_gpu, outbox, pipeline, publish, startup
from edge_app.bench.measure import BenchResult
from edge_app.errors import ConfigError
from edge_app.files.writable import require_writable

BENCHMARKS: dict[str, tuple[Callable[[int | None], Sequence[BenchResult]], str]] = {
    "letterbox": (lambda rounds: [_run(letterbox.run, rounds)], "a 1080p frame into the model's input"),
    "metrics": (
        lambda rounds: [_run(metrics.run_frame, rounds), _run(metrics.run_scrape, rounds)],
        "the times of frames as histograms, and a scrape",
    ),
    "model": (lambda rounds: [_run(model.run, rounds)], "the demo model on ONNX Runtime"),
    "nms": (
        lambda rounds: [_run(nms.run, rounds, boxes=boxes) for boxes in (20, 300, 3000)],
        "decoding and non-maximum suppression",
    ),
    "nms-gpu": (
        lambda rounds: [_run(nms_gpu.run, rounds, boxes=boxes) for boxes in (20, 300, 3000)],
        "the same from an output in the GPU's memory: suppressed there, or on the CPU",
    ),
    "publish": (lambda rounds: [_run(publish.run, rounds)], "one detections message"),
    "startup": (lambda rounds: [_run(startup.run, rounds)], "edge-app --help"),
    "outbox": (lambda rounds: [_run(outbox.run, rounds)], "messages kept on disk, and taken by Mosquitto"),
    "pipeline": (
        lambda rounds: [_run(pipeline.run, rounds)],
        "a 1080p file through the daemon; takes minutes",
    ),
}

STREET = "decoded frames to encoded messages, beside the bare engine; measured alone, with options of its own"


def run_benchmarks(names: Sequence[str], *, rounds: int | None, json_path: Path | None) -> None:
    """Run benchmarks by name and print their tables; without names, list them.

    Raises:
        ConfigError: There is no benchmark of that name, or the results cannot be written to `json_path`.
    """
    console = Console(highlight=False)
    if not names:
        purposes = {name: purpose for name, (_, purpose) in BENCHMARKS.items()} | {"street": STREET}
        console.print("\n".join(f"{name:10} {purpose}" for name, purpose in purposes.items()))
        return
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise ConfigError(f"there is no benchmark {unknown[0]!r}", hint=f"There are {', '.join(BENCHMARKS)}.")
    if json_path is not None:
        require_writable(json_path, "--json")
    results: list[BenchResult] = []
    for name in names:
        with console.status(f"measuring {name} ..."):
            results += BENCHMARKS[name][0](rounds)
    for result in results:
        console.print(result.table() + "\n", soft_wrap=True, markup=False)
    if json_path is not None:
        content = orjson.dumps([result.as_json() for result in results], option=orjson.OPT_INDENT_2)
        json_path.write_bytes(content + b"\n")


def _run(run: Callable[..., BenchResult], rounds: int | None, **arguments: int) -> BenchResult:
    return run(**arguments) if rounds is None else run(rounds, **arguments)
