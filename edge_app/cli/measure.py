"""The commands that measure: how good a detector is, and how fast this machine."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edge_app.cli.options import JsonFlag, OptionalConfig


class DecoderName(str, Enum):
    """What decodes in a benchmark; see `cameras.X.decoder`."""

    AUTO = "auto"
    NVDEC = "nvdec"
    GSTREAMER = "gstreamer"
    CPU = "cpu"


class BenchBackend(str, Enum):
    """What runs a model in a benchmark; `none`: every frame is answered at once."""

    AUTO = "auto"
    TENSORRT = "tensorrt"
    ONNXRUNTIME = "onnxruntime"
    NONE = "none"


def evaluate(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Take model and thresholds from here.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="An .onnx file or the .yaml that describes one; overrides the configuration.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Rendered scenes to evaluate on, first-last.")] = "0-49",
    frames: Annotated[int, typer.Option(help="Frames of each scene.", min=1)] = 10,
    size: Annotated[str, typer.Option(help="Size of the rendered frames.")] = "1280x720",
    coco: Annotated[
        Path | None,
        typer.Option(help="COCO annotations (JSON) to evaluate on instead of scenes.", show_default=False),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the COCO images.", show_default=False)
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Measure a detector's average precision (COCO's definition).

    The pictures, rendered scenes or a COCO data set, walk through the daemon's own stages.
    """
    from edge_app.evaluate.command import run_evaluation

    run_evaluation(
        config, model=model, seeds=seeds, frames=frames, size=size, coco=coco, images=images, json_output=json
    )


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="What to measure; nothing: list what there is.", show_default=False),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Rounds in which the candidates take turns.", min=1, show_default=False)
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the results here as well.", show_default=False)
    ] = None,
    config: OptionalConfig = None,
    batch: Annotated[
        int | None,
        typer.Option(help="street: largest batch; overrides the configuration.", min=1, show_default=False),
    ] = None,
    cameras: Annotated[int, typer.Option(help="street: how many cameras.", min=1)] = 8,
    fps: Annotated[
        float | None,
        typer.Option(
            help="street: frames a second of each; otherwise as fast as it goes.", show_default=False
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="street: size of the frames.")] = "1920x1080",
    seconds: Annotated[float, typer.Option(help="street: length of a round.", min=0.5)] = 5.0,
    source: Annotated[
        str,
        typer.Option(help="street: memory (frames decoded already), scene, or a camera's or file's URI."),
    ] = "memory",
    decoder: Annotated[
        DecoderName, typer.Option(help="street: what decodes a camera or file.")
    ] = DecoderName.AUTO,
    backend: Annotated[
        BenchBackend | None,
        typer.Option(
            help="street: what runs the model; overrides the configuration. none: answered at once, "
            "which shows the daemon's own work.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="street: an .onnx file or what describes one; overrides.", show_default=False),
    ] = None,
    overload: Annotated[
        bool, typer.Option("--overload", help="street: also with twice the frames that can be processed.")
    ] = False,
    capacity: Annotated[
        bool, typer.Option("--capacity", help="street: also how many cameras of --fps (30) are carried.")
    ] = False,
    latency_ms: Annotated[
        float, typer.Option(help="street: longest p95 that counts as carried, in milliseconds.", min=1)
    ] = 50.0,
    processes: Annotated[
        int, typer.Option(help="street: how many daemons share the cameras.", min=1, max=64)
    ] = 1,
    plot: Annotated[
        Path | None, typer.Option(help="street: write charts here, .png or .svg.", show_default=False)
    ] = None,
) -> None:
    """Measure what this machine does, candidates side by side.

    They take turns; the medians of several rounds are shown. Without a name: what there is to measure.
    `street` is the daemon from decoded frames to encoded messages, beside the bare engine.
    """
    if names == ["street"]:
        from edge_app.bench.street import Load
        from edge_app.bench.street_command import StreetOptions, run_street
        from edge_app.export.command import parse_size

        load = Load(cameras, fps, parse_size(size), seconds, source, decoder.value)
        chosen = None if backend is None else backend.value
        options = StreetOptions(
            load,
            rounds or 5,
            batch,
            chosen,
            model,
            overload=overload,
            capacity=capacity,
            latency_ms=latency_ms,
            processes=processes,
        )
        run_street(config, options, json, plot)
        return
    from edge_app.bench.command import run_benchmarks

    run_benchmarks(names or [], rounds=rounds, json_path=json)
